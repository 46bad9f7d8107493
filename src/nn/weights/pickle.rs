//! Python's pickle, looked at and never carried out: its values become nodes, and whatever it would have Python call,
//! import or build is a [`Node::Call`] that nobody calls.
//!
//! A pickle is a program for a machine with a stack, a list of marks on it, and a memo of values that are used again;
//! each instruction is a byte and what belongs to it. Values may hold themselves, so nodes name each other by number,
//! and nothing here follows them.
//!
//! Read are protocols 2 to 5 as `torch.save` and trainers write them. Two calls are understood, because containers are
//! made by them: `collections.OrderedDict()` is an empty dict and `torch.Size(x)` is x. Left out: the text instructions
//! of protocols 0 and 1, extension codes, buffers out of band.
//!
//! Source: CPython, `Lib/pickletools.py`.

use crate::error::{Error, Result};
use std::collections::BTreeMap;

/// The number of a node.
pub(super) type Id = u32;

/// A value. What is of no use for weights is [`Node::Opaque`]: None, truth values, floats, bytes, sets, long integers.
pub(super) enum Node<'a> {
    Opaque,
    Int(i64),
    /// As it stands, which need not be UTF-8.
    Text(&'a [u8]),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A class or function: module and name.
    Global(Id, Id),
    /// What the archive stores elsewhere, and how the pickle calls it.
    Persistent(Id),
    /// What a function or class would make of its arguments.
    Call(Id, Id),
}

/// Memory that nodes may take, bytes.
const BUDGET: usize = 24 << 20;
/// Of a growing list the old and the new, twice as long, are there at once.
const GROWTH: usize = 3;
/// What the smallest allocation takes, with what the allocator keeps for itself.
const ALLOCATION: usize = 48;
/// Values on the stack, and marks on it: levels of nesting.
const MAX_STACK: usize = 1 << 18;
const MAX_MARKS: usize = 1 << 12;
/// Longest text that can be a name: a longer one, used again and again, would be looked at as often.
const MAX_NAME: usize = 4096;
/// The one node of all opaque values.
const OPAQUE: Id = 0;

/// The values of a pickle.
pub(super) struct Pickle<'a> {
    nodes: Vec<Node<'a>>,
    root: Id,
}

impl<'a> Pickle<'a> {
    /// Reads a pickle that ends with `bytes`.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Pickle<'a>> {
        let mut machine = Machine {
            bytes,
            at: 0,
            nodes: vec![Node::Opaque],
            stack: Vec::new(),
            marks: Vec::new(),
            memo: BTreeMap::new(),
            spent: 0,
        };
        match machine.run() {
            Ok(root) => Ok(Pickle { nodes: machine.nodes, root }),
            Err(what) => Err(Error::data(format!("its data.pkl is not read: {what}, before byte {}", machine.at))
                .help("save the weights alone: torch.save(model.state_dict(), NEW)")),
        }
    }

    /// The value of the whole.
    pub(super) fn root(&self) -> Id {
        self.root
    }
    /// A value.
    pub(super) fn node(&self, id: Id) -> &Node<'a> {
        &self.nodes[id as usize]
    }
    /// The text, if it is one of at most [`MAX_NAME`] bytes of UTF-8.
    pub(super) fn text(&self, id: Id) -> Option<&'a str> {
        match self.node(id) {
            Node::Text(bytes) if bytes.len() <= MAX_NAME => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }
    /// The integer, if it is one and not negative.
    pub(super) fn natural(&self, id: Id) -> Option<u64> {
        if let Node::Int(i) = self.node(id) { u64::try_from(*i).ok() } else { None }
    }
    /// The members of a tuple; of anything else none.
    pub(super) fn tuple(&self, id: Id) -> &[Id] {
        if let Node::Tuple(ids) = self.node(id) { ids } else { &[] }
    }
    /// The pairs of a dict; of anything else none.
    pub(super) fn dict(&self, id: Id) -> &[(Id, Id)] {
        if let Node::Dict(pairs) = self.node(id) { pairs } else { &[] }
    }
    /// Module and name of a class or function; of anything else empty ones.
    pub(super) fn global(&self, id: Id) -> (&'a str, &'a str) {
        let Node::Global(module, name) = *self.node(id) else { return ("", "") };
        (self.text(module).unwrap_or_default(), self.text(name).unwrap_or_default())
    }
    /// What a value is, for messages.
    pub(super) fn describe(&self, id: Id) -> String {
        match self.node(id) {
            Node::Opaque => "a value that is no tensor".into(),
            Node::Int(i) => format!("the integer {i}"),
            Node::Text(_) => "a text that is no name".into(),
            Node::Tuple(_) => "a tuple".into(),
            Node::List(_) => "a list".into(),
            Node::Dict(_) => "a dict".into(),
            Node::Global(..) | Node::Persistent(_) => "a class or a storage".into(),
            Node::Call(function, _) => {
                let (module, name) = self.global(*function);
                format!("an object made by {module}.{name}")
            }
        }
    }
}

/// Why an instruction is not carried out.
type Step<T> = std::result::Result<T, String>;

struct Machine<'a> {
    bytes: &'a [u8],
    /// The next instruction.
    at: usize,
    nodes: Vec<Node<'a>>,
    stack: Vec<Id>,
    /// Lengths of the stack.
    marks: Vec<usize>,
    memo: BTreeMap<u32, Id>,
    spent: usize,
}

impl<'a> Machine<'a> {
    fn take(&mut self, n: u64) -> Step<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let n = usize::try_from(n).ok().filter(|&n| n <= rest.len()).ok_or("it ends inside an instruction")?;
        self.at += n;
        Ok(&rest[..n])
    }
    /// A little-endian number of `n` bytes.
    fn number(&mut self, n: u64) -> Step<u64> {
        Ok(self.take(n)?.iter().rev().fold(0, |v, &b| v << 8 | u64::from(b)))
    }
    /// As many bytes as a number of `n` bytes says.
    fn counted(&mut self, n: u64) -> Step<&'a [u8]> {
        let length = self.number(n)?;
        self.take(length)
    }
    fn line(&mut self) -> Step<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|&b| b == b'\n').ok_or("it ends inside a name")?;
        self.at += length + 1;
        Ok(&rest[..length])
    }

    fn charge(&mut self, bytes: usize) -> Step<()> {
        self.spent += GROWTH * bytes;
        if self.spent > BUDGET { Err(format!("its values take more than {BUDGET} bytes")) } else { Ok(()) }
    }
    fn make(&mut self, node: Node<'a>) -> Step<Id> {
        self.charge(size_of::<Node>())?;
        self.nodes.push(node);
        Ok((self.nodes.len() - 1) as Id)
    }
    fn push_id(&mut self, id: Id) -> Step<()> {
        if self.stack.len() == MAX_STACK {
            return Err(format!("more than {MAX_STACK} values on the stack"));
        }
        self.stack.push(id);
        Ok(())
    }
    fn push(&mut self, node: Node<'a>) -> Step<()> {
        let id = self.make(node)?;
        self.push_id(id)
    }
    /// The value on top, which is not below the last mark.
    fn top(&self) -> Step<Id> {
        let floor = self.marks.last().copied().unwrap_or(0);
        self.stack[floor..].last().copied().ok_or("a value is missing on the stack".into())
    }
    fn pop(&mut self) -> Step<Id> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }
    fn mark(&mut self) -> Step<()> {
        if self.marks.len() == MAX_MARKS {
            return Err(format!("nested deeper than {MAX_MARKS} levels"));
        }
        self.marks.push(self.stack.len());
        Ok(())
    }
    /// The values above the last mark, which goes with them.
    fn pop_mark(&mut self) -> Step<Vec<Id>> {
        let mark = self.marks.pop().ok_or("a mark is missing on the stack")?;
        self.held(self.stack.len() - mark)?;
        // Not split_off, whose result may keep the room of the whole stack.
        Ok(self.stack.drain(mark..).collect())
    }
    /// Charges for what a container takes in.
    fn held(&mut self, values: usize) -> Step<()> {
        self.charge(ALLOCATION + values * size_of::<Id>())
    }
    fn tuple(&mut self, n: usize) -> Step<()> {
        let mut ids = vec![OPAQUE; n];
        self.held(n)?;
        for id in ids.iter_mut().rev() {
            *id = self.pop()?;
        }
        self.push(Node::Tuple(ids))
    }
    /// Appends to the list on top; what another object would do with the values is its matter.
    fn append(&mut self, values: &[Id]) -> Step<()> {
        self.held(values.len())?;
        let target = self.top()? as usize;
        if let Node::List(list) = &mut self.nodes[target] {
            list.extend(values);
        }
        Ok(())
    }
    /// Sets items of the dict on top, as [`Machine::append`]; `values` are keys and values by turns.
    fn set(&mut self, values: &[Id]) -> Step<()> {
        self.held(values.len())?;
        let target = self.top()? as usize;
        let pairs = pairs(values)?;
        if let Node::Dict(dict) = &mut self.nodes[target] {
            dict.extend(pairs);
        }
        Ok(())
    }
    fn memoize(&mut self, key: u32) -> Step<()> {
        self.charge(ALLOCATION)?;
        self.memo.insert(key, self.top()?);
        Ok(())
    }
    fn recall(&mut self, key: u32) -> Step<()> {
        let id = *self.memo.get(&key).ok_or_else(|| format!("its memo has no value {key}"))?;
        self.push_id(id)
    }
    /// What calling would give.
    fn call(&mut self) -> Step<()> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let name = |id: Id| if let Node::Text(text) = self.nodes[id as usize] { text } else { b"" };
        let function_name = match self.nodes[function as usize] {
            Node::Global(module, class) => (name(module), name(class)),
            _ => (&b""[..], &b""[..]),
        };
        match (function_name, &self.nodes[arguments as usize]) {
            ((b"collections", b"OrderedDict"), Node::Tuple(none)) if none.is_empty() => {
                self.push(Node::Dict(Vec::new()))
            }
            ((b"torch", b"Size"), Node::Tuple(one)) if one.len() == 1 => self.push_id(one[0]),
            _ => self.push(Node::Call(function, arguments)),
        }
    }
    fn integer(&mut self, bytes: &[u8]) -> Step<()> {
        if bytes.len() > 8 {
            return self.push_id(OPAQUE);
        }
        // Two's complement of any length.
        let sign = bytes.last().map_or(0, |&b| if b >= 0x80 { -1 } else { 0 });
        self.push(Node::Int(bytes.iter().rev().fold(sign, |v, &b| v << 8 | i64::from(b))))
    }

    fn run(&mut self) -> Step<Id> {
        if self.bytes.first() != Some(&0x80) {
            return Err("it does not begin as protocol 2 to 5".into());
        }
        loop {
            let code = self.take(1)?[0];
            match code {
                // PROTO, FRAME, STOP
                0x80 => match self.number(1)? {
                    2..=5 if self.at == 2 => Ok(()),
                    version => Err(format!("protocol {version}")),
                },
                0x95 => self.number(8).map(|_| ()),
                b'.' => {
                    let root = self.pop()?;
                    let left = self.stack.len() + self.marks.len() + self.bytes.len() - self.at;
                    return if left == 0 { Ok(root) } else { Err("more follows after its end".into()) };
                }
                // MARK, POP, which may be that of a mark, POP_MARK, DUP
                b'(' => self.mark(),
                b'0' if self.top().is_ok() => self.pop().map(|_| ()),
                b'0' | b'1' => self.pop_mark().map(|_| ()),
                b'2' => self.top().and_then(|id| self.push_id(id)),
                // NONE, NEWTRUE, NEWFALSE, BINFLOAT, EMPTY_SET
                b'N' | 0x88 | 0x89 | 0x8f => self.push_id(OPAQUE),
                b'G' => self.take(8).and_then(|_| self.push_id(OPAQUE)),
                // BININT, BININT1, BININT2, LONG1, LONG4
                b'J' => self.take(4).and_then(|bytes| self.integer(bytes)),
                b'K' => self.number(1).and_then(|n| self.push(Node::Int(n as i64))),
                b'M' => self.number(2).and_then(|n| self.push(Node::Int(n as i64))),
                0x8a => self.counted(1).and_then(|bytes| self.integer(bytes)),
                0x8b => self.counted(4).and_then(|bytes| self.integer(bytes)),
                // SHORT_BINUNICODE, BINUNICODE, BINUNICODE8; SHORT_BINSTRING, BINSTRING: texts of Python 2
                0x8c | b'U' => self.counted(1).and_then(|text| self.push(Node::Text(text))),
                b'X' | b'T' => self.counted(4).and_then(|text| self.push(Node::Text(text))),
                0x8d => self.counted(8).and_then(|text| self.push(Node::Text(text))),
                // SHORT_BINBYTES, BINBYTES, BINBYTES8, BYTEARRAY8
                b'C' => self.counted(1).and_then(|_| self.push_id(OPAQUE)),
                b'B' => self.counted(4).and_then(|_| self.push_id(OPAQUE)),
                0x8e | 0x96 => self.counted(8).and_then(|_| self.push_id(OPAQUE)),
                // EMPTY_LIST, LIST, APPEND, APPENDS
                b']' => self.push(Node::List(Vec::new())),
                b'l' => self.pop_mark().and_then(|values| self.push(Node::List(values))),
                b'a' => self.pop().and_then(|value| self.append(&[value])),
                b'e' => self.pop_mark().and_then(|values| self.append(&values)),
                // EMPTY_TUPLE, TUPLE1, TUPLE2, TUPLE3, TUPLE
                b')' => self.push(Node::Tuple(Vec::new())),
                0x85..=0x87 => self.tuple(usize::from(code - 0x84)),
                b't' => self.pop_mark().and_then(|values| self.push(Node::Tuple(values))),
                // EMPTY_DICT, DICT, SETITEM, SETITEMS
                b'}' => self.push(Node::Dict(Vec::new())),
                b'd' => {
                    let values = self.pop_mark()?;
                    self.push(Node::Dict(Vec::new()))?;
                    self.set(&values)
                }
                b's' => {
                    let (value, key) = (self.pop()?, self.pop()?);
                    self.set(&[key, value])
                }
                b'u' => self.pop_mark().and_then(|values| self.set(&values)),
                // ADDITEMS, FROZENSET, OBJ, INST
                0x90 => self.pop_mark().and_then(|_| self.top()).map(|_| ()),
                0x91 | b'o' => self.pop_mark().and_then(|_| self.push_id(OPAQUE)),
                b'i' => {
                    self.line().and_then(|_| self.line())?;
                    self.pop_mark().and_then(|_| self.push_id(OPAQUE))
                }
                // GLOBAL, STACK_GLOBAL
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    let (module, name) = (self.make(Node::Text(module))?, self.make(Node::Text(name))?);
                    self.push(Node::Global(module, name))
                }
                0x93 => {
                    let (name, module) = (self.pop()?, self.pop()?);
                    self.push(Node::Global(module, name))
                }
                // REDUCE, NEWOBJ, NEWOBJ_EX, whose keywords count for nothing, BUILD, whose state likewise, BINPERSID
                b'R' | 0x81 => self.call(),
                0x92 => self.pop().and_then(|_| self.call()),
                b'b' => self.pop().and_then(|_| self.top()).map(|_| ()),
                b'Q' => self.pop().and_then(|id| self.push(Node::Persistent(id))),
                // BINPUT, LONG_BINPUT, MEMOIZE; BINGET, LONG_BINGET
                b'q' => self.number(1).and_then(|key| self.memoize(key as u32)),
                b'r' => self.number(4).and_then(|key| self.memoize(key as u32)),
                0x94 => self.memoize(self.memo.len() as u32),
                b'h' => self.number(1).and_then(|key| self.recall(key as u32)),
                b'j' => self.number(4).and_then(|key| self.recall(key as u32)),
                _ => Err(format!("an unknown instruction 0x{code:02x}")),
            }?;
        }
    }
}

/// Keys and values by turns, as pairs.
fn pairs(values: &[Id]) -> Step<impl Iterator<Item = (Id, Id)> + '_> {
    let (pairs, rest) = values.as_chunks::<2>();
    if rest.is_empty() {
        Ok(pairs.iter().map(|&[key, value]| (key, value)))
    } else {
        Err("a key without a value".into())
    }
}
