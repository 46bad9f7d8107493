//! Writing Protocol Buffers: a message is its fields one after the other.
//!
//! ```text
//! field = tag, value          tag = number · 8 + kind, kinds: 0 varint, 2 length and bytes, 5 four bytes
//! varint = 7 bits at a time, the lowest first; the top bit says that more follow
//! ```
//!
//! Source: protobuf.dev, "Encoding".

/// A message, or a part of one.
#[derive(Clone, Debug, Default)]
pub(super) struct Message(pub Vec<u8>);

impl Message {
    fn varint(mut self, mut value: u64) -> Message {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
        self
    }
    /// An integer; a negative one takes ten bytes.
    pub(super) fn int(self, field: u64, value: i64) -> Message {
        self.varint(field << 3).varint(value as u64)
    }
    /// A float.
    pub(super) fn float(self, field: u64, value: f32) -> Message {
        let mut message = self.varint(field << 3 | 5);
        message.0.extend(value.to_le_bytes());
        message
    }
    /// A text, bytes or another message, of which `length` bytes will follow.
    pub(super) fn announce(self, field: u64, length: usize) -> Message {
        self.varint(field << 3 | 2).varint(length as u64)
    }
    /// A text or bytes.
    pub(super) fn bytes(self, field: u64, value: impl AsRef<[u8]>) -> Message {
        let value = value.as_ref();
        let mut message = self.announce(field, value.len());
        message.0.extend(value);
        message
    }
    /// Another message.
    pub(super) fn message(self, field: u64, value: Message) -> Message {
        self.bytes(field, value.0)
    }
}
