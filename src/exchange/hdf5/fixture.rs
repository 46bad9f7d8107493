//! A writer of small HDF5 files, for tests: version 2 superblock and object headers, compact links, contiguous and
//! chunked data with a version 1 B-tree.
//!
//! It is written from the format specification, so that the reader is not tested against its own ideas, and it can
//! write what no library would: missing chunks, links out of the folder, types with unused bits.

use hdf5_reader::checksum::jenkins_lookup3;

/// The address that means "nowhere".
const UNDEFINED: u64 = u64::MAX;

/// An object of the tree.
pub(super) enum Node {
    Group(Vec<(&'static str, Node)>),
    Data(Data),
    /// A link to a path in another file.
    External(&'static str, &'static str),
    /// A link to a path in this file.
    Soft(&'static str),
}

/// A dataset.
pub(super) struct Data {
    shape: Vec<u64>,
    dtype: Vec<u8>,
    element: usize,
    bytes: Vec<u8>,
    layout: Layout,
    attributes: Vec<(&'static str, String)>,
}

enum Layout {
    Contiguous,
    NeverWritten,
    Chunked { chunk: Vec<usize>, filters: bool, entries: fn(usize) -> Fate, never_indexed: bool },
}

/// What becomes of a chunk.
pub(super) enum Fate {
    Written,
    Missing,
    /// Written and listed twice.
    Twice,
    /// Written, but its compressed bytes are damaged.
    Damaged,
    /// Written uncompressed, which its filter mask says.
    Unfiltered,
}

/// Description of an integer type: size in bytes, sign, byte order, bits used.
pub(super) fn integer(size: u32, signed: bool, big_endian: bool, precision: u16) -> Vec<u8> {
    let mut d = vec![0x10, u8::from(big_endian) | u8::from(signed) << 3, 0, 0];
    d.extend(size.to_le_bytes());
    d.extend([0, 0]);
    d.extend(precision.to_le_bytes());
    d
}

/// Description of an IEEE float type of 2, 4 or 8 bytes.
pub(super) fn float(size: u32, big_endian: bool) -> Vec<u8> {
    let (exponent, mantissa, bias) = match size {
        2 => (5, 10, 15u32),
        4 => (8, 23, 127),
        _ => (11, 52, 1023),
    };
    let mut d = vec![0x11, 0x20 | u8::from(big_endian), size as u8 * 8 - 1, 0];
    d.extend(size.to_le_bytes());
    d.extend([0, 0]);
    d.extend((size as u16 * 8).to_le_bytes());
    d.extend([mantissa, exponent, 0, mantissa]);
    d.extend(bias.to_le_bytes());
    d
}

/// Description of a fixed text type.
fn text(size: u32) -> Vec<u8> {
    let mut d = vec![0x13, 0, 0, 0];
    d.extend(size.to_le_bytes());
    d
}

impl Data {
    pub(super) fn new(shape: &[u64], dtype: Vec<u8>, bytes: Vec<u8>) -> Data {
        let element = u32::from_le_bytes([dtype[4], dtype[5], dtype[6], dtype[7]]) as usize;
        let (layout, attributes) = (Layout::Contiguous, Vec::new());
        Data { shape: shape.to_vec(), dtype, element, bytes, layout, attributes }
    }
    pub(super) fn f32s(shape: &[u64], values: impl IntoIterator<Item = f32>) -> Data {
        Data::new(shape, float(4, false), values.into_iter().flat_map(f32::to_le_bytes).collect())
    }
    pub(super) fn f64s(shape: &[u64], values: impl IntoIterator<Item = f64>) -> Data {
        Data::new(shape, float(8, false), values.into_iter().flat_map(f64::to_le_bytes).collect())
    }
    pub(super) fn text(value: &str) -> Data {
        Data::new(&[], text(value.len() as u32), value.as_bytes().to_vec())
    }
    pub(super) fn attribute(mut self, name: &'static str, value: &str) -> Data {
        self.attributes.push((name, value.to_string()));
        self
    }
    pub(super) fn never_written(mut self) -> Data {
        self.layout = Layout::NeverWritten;
        self
    }
    /// In chunks; with `filters`, shuffled and deflated. `entries` says what becomes of chunk number i.
    pub(super) fn chunked(mut self, chunk: &[usize], filters: bool, entries: fn(usize) -> Fate) -> Data {
        self.layout = Layout::Chunked { chunk: chunk.to_vec(), filters, entries, never_indexed: false };
        self
    }
    /// In chunks of which none was ever written.
    pub(super) fn chunked_never_written(mut self, chunk: &[usize]) -> Data {
        let entries = |_| Fate::Missing;
        self.layout = Layout::Chunked { chunk: chunk.to_vec(), filters: false, entries, never_indexed: true };
        self
    }
    pub(super) fn node(self) -> Node {
        Node::Data(self)
    }
}

/// The bytes of a file whose root holds `members`, behind a user block of `user_block` bytes.
pub(super) fn file_behind(user_block: usize, members: Vec<(&'static str, Node)>) -> Vec<u8> {
    const SUPERBLOCK: usize = 48;
    let mut body = vec![0; SUPERBLOCK];
    let root = write(&mut body, Node::Group(members));
    let mut superblock = b"\x89HDF\r\n\x1a\n\x02\x08\x08\x00".to_vec();
    let end = (user_block + body.len()) as u64;
    for address in [user_block as u64, UNDEFINED, end, root] {
        superblock.extend(address.to_le_bytes());
    }
    superblock.extend(jenkins_lookup3(&superblock).to_le_bytes());
    body[..SUPERBLOCK].copy_from_slice(&superblock);
    [vec![0; user_block], body].concat()
}

/// The bytes of a file whose root holds `members`.
pub(super) fn file(members: Vec<(&'static str, Node)>) -> Vec<u8> {
    file_behind(0, members)
}

/// A Data Exchange file with these members of `exchange`.
pub(super) fn exchange(members: Vec<(&'static str, Node)>) -> Vec<u8> {
    file(vec![("exchange", Node::Group(members))])
}

/// Appends an object and gives its address.
fn write(body: &mut Vec<u8>, node: Node) -> u64 {
    let messages = match node {
        Node::Group(members) => {
            let mut messages = vec![(0x02, [vec![0, 0], UNDEFINED.to_le_bytes().repeat(2)].concat())];
            for (name, member) in members {
                messages.push((0x06, link(body, name, member)));
            }
            messages
        }
        Node::Data(data) => dataset(body, &data),
        Node::External(..) | Node::Soft(_) => unreachable!("a link has no object"),
    };
    header(body, &messages)
}

fn link(body: &mut Vec<u8>, name: &str, member: Node) -> Vec<u8> {
    // Version 1; flag 8: the link's type follows.
    let (kind, target) = match member {
        Node::Soft(path) => (1u8, [&(path.len() as u16).to_le_bytes()[..], path.as_bytes()].concat()),
        Node::External(file, path) => {
            let names = [b"\0", file.as_bytes(), b"\0", path.as_bytes(), b"\0"].concat();
            (64, [&(names.len() as u16).to_le_bytes()[..], &names].concat())
        }
        object => (0, write(body, object).to_le_bytes().to_vec()),
    };
    [&[1, 8, kind, name.len() as u8], name.as_bytes(), &target].concat()
}

fn header(body: &mut Vec<u8>, messages: &[(u8, Vec<u8>)]) -> u64 {
    let mut content = Vec::new();
    for (kind, message) in messages {
        content.push(*kind);
        content.extend((message.len() as u16).to_le_bytes());
        content.push(0);
        content.extend(message);
    }
    // Flag 2: the length of the content has 4 bytes.
    let mut header = b"OHDR\x02\x02".to_vec();
    header.extend((content.len() as u32).to_le_bytes());
    header.extend(content);
    header.extend(jenkins_lookup3(&header).to_le_bytes());
    append(body, &header)
}

fn append(body: &mut Vec<u8>, bytes: &[u8]) -> u64 {
    let address = body.len() as u64;
    body.extend(bytes);
    address
}

fn dataspace(shape: &[u64]) -> Vec<u8> {
    let mut d = vec![2, shape.len() as u8, 0, u8::from(!shape.is_empty())];
    d.extend(shape.iter().flat_map(|n| n.to_le_bytes()));
    d
}

fn dataset(body: &mut Vec<u8>, data: &Data) -> Vec<(u8, Vec<u8>)> {
    let mut messages = vec![(0x01, dataspace(&data.shape)), (0x03, data.dtype.clone())];
    let mut layout = vec![3];
    match &data.layout {
        Layout::Contiguous | Layout::NeverWritten => {
            let written = matches!(data.layout, Layout::Contiguous);
            let address = if written { append(body, &data.bytes) } else { UNDEFINED };
            layout.push(1);
            layout.extend(address.to_le_bytes());
            layout.extend((data.bytes.len() as u64).to_le_bytes());
        }
        Layout::Chunked { chunk, filters, entries, never_indexed } => {
            let tree = chunk_tree(body, data, chunk, *filters, *entries);
            let address = if *never_indexed { UNDEFINED } else { append(body, &tree) };
            layout.extend([2, chunk.len() as u8 + 1]);
            layout.extend(address.to_le_bytes());
            layout.extend(chunk.iter().chain([&data.element]).flat_map(|&n| (n as u32).to_le_bytes()));
            if *filters {
                // Version 2, two filters: shuffle (2) with the element's size, deflate (1) with the level.
                let shuffle = [2, 0, 0, 0, 1, 0, data.element as u8, 0, 0, 0];
                messages.push((0x0B, [&[2, 2], &shuffle[..], &[1, 0, 0, 0, 1, 0, 6, 0, 0, 0]].concat()));
            }
        }
    }
    messages.push((0x08, layout));
    for (name, value) in &data.attributes {
        let (dtype, space) = (text(value.len() as u32), dataspace(&[]));
        let mut m = vec![3, 0];
        for length in [name.len() + 1, dtype.len(), space.len()] {
            m.extend((length as u16).to_le_bytes());
        }
        m.push(0);
        m.extend([name.as_bytes(), b"\0", &dtype, &space, value.as_bytes()].concat());
        messages.push((0x0C, m));
    }
    messages
}

/// Writes the chunks and gives the leaf node of their index.
fn chunk_tree(body: &mut Vec<u8>, data: &Data, chunk: &[usize], filters: bool, fate: fn(usize) -> Fate) -> Vec<u8> {
    let shape: Vec<usize> = data.shape.iter().map(|&n| n as usize).collect();
    let grid: Vec<usize> = shape.iter().zip(chunk).map(|(n, c)| n.div_ceil(*c)).collect();
    let mut keys: Vec<Vec<u8>> = Vec::new();
    for number in 0..grid.iter().product() {
        let mut rest = number;
        let mut corner = vec![0; shape.len()];
        for d in (0..shape.len()).rev() {
            corner[d] = rest % grid[d] * chunk[d];
            rest /= grid[d];
        }
        let fate = fate(number);
        let raw = cut(data, &shape, chunk, &corner);
        let (mut bytes, mask) = match (filters, &fate) {
            (true, Fate::Unfiltered) => (raw, 3u32),
            (true, _) => (miniz_oxide::deflate::compress_to_vec_zlib(&shuffle(&raw, data.element), 6), 0),
            _ => (raw, 0),
        };
        if matches!(fate, Fate::Damaged) {
            bytes[2..].fill(0xff);
        }
        if matches!(fate, Fate::Missing) {
            continue;
        }
        let mut key = (bytes.len() as u32).to_le_bytes().to_vec();
        key.extend(mask.to_le_bytes());
        key.extend(corner.iter().chain([&0]).flat_map(|&n| (n as u64).to_le_bytes()));
        key.extend(append(body, &bytes).to_le_bytes());
        keys.push(key.clone());
        if matches!(fate, Fate::Twice) {
            keys.push(key);
        }
    }
    let mut tree = b"TREE\x01\x00".to_vec();
    tree.extend((keys.len() as u16).to_le_bytes());
    tree.extend(UNDEFINED.to_le_bytes().repeat(2));
    tree.extend(keys.concat());
    // The key behind the last chunk: a corner beyond every other.
    tree.extend([0; 8]);
    tree.extend(data.shape.iter().chain([&0]).flat_map(|n| n.to_le_bytes()));
    tree
}

/// The bytes of one box; what sticks out of the array is 0xEE, which no test reads as data.
fn cut(data: &Data, shape: &[usize], chunk: &[usize], corner: &[usize]) -> Vec<u8> {
    let mut raw = Vec::new();
    for i in 0..chunk.iter().product() {
        let (mut rest, mut place, mut stride, mut inside) = (i, 0, 1, true);
        for d in (0..shape.len()).rev() {
            let at = corner[d] + rest % chunk[d];
            rest /= chunk[d];
            inside &= at < shape[d];
            place += at * stride;
            stride *= shape[d];
        }
        match inside {
            true => raw.extend(&data.bytes[place * data.element..(place + 1) * data.element]),
            false => raw.extend(vec![0xEE; data.element]),
        }
    }
    raw
}

/// All first bytes of the elements, then all second bytes, and so on.
fn shuffle(raw: &[u8], element: usize) -> Vec<u8> {
    (0..element).flat_map(|b| raw.iter().skip(b).step_by(element).copied()).collect()
}
