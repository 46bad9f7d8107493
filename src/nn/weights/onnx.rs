//! Writing ONNX: a network as a graph of operators with its weights, for other people's runtimes.
//!
//! A [`Graph`] is built in the order of computation: each method appends a node and returns its output, which has the
//! node's name. Axes are (batch, channel, row, column), and windows are square.
//!
//! ```
//! use tomolith::nn::weights::{NamedTensor, onnx::{Extent, Graph, Window}};
//! # let dir = tomolith::testing::Scratch::new("onnx-doc");
//! # let path = dir.join("net.onnx");
//! let mut graph = Graph::new("blur");
//! let x = graph.input("image", &[Extent::Named("batch"), Extent::Fixed(1), Extent::Fixed(64), Extent::Fixed(64)]);
//! let w = graph.initializer(&NamedTensor::from_f32("weight", &[1, 1, 3, 3], &[1.0 / 9.0; 9]));
//! let y = graph.conv("mean", &x, &w, None, Window { kernel: 3, stride: 1, padding: 1 });
//! graph.output(&y, &[Extent::Named("batch"), Extent::Fixed(1), Extent::Fixed(64), Extent::Fixed(64)]);
//! graph.write(&path, &Default::default(), false)?;
//! # Ok::<(), tomolith::error::Error>(())
//! ```
//!
//! Left out: reading; operators that the networks here do not have; models of 2 GiB and more, which keep their weights
//! in files of their own.
//!
//! Source: `onnx.proto` (message and field numbers), "ONNX Operators", version [`OPSET`].

use super::protobuf::Message;
use super::{Dtype, NamedTensor};
use crate::error::{Error, Result};
use crate::exchange::part::PartFile;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Version of the operators; all that are used here mean the same up to today's.
pub const OPSET: i64 = 17;
/// Version of the file format that came with [`OPSET`].
const IR_VERSION: i64 = 8;
/// Longest message of Protocol Buffers.
const MAX_BYTES: usize = i32::MAX as usize;
/// `AttributeProto.AttributeType`.
const FLOAT: i64 = 1;
const INT: i64 = 2;
const INTS: i64 = 7;

/// A tensor of the graph: an input, a weight, or what a node gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value(String);

/// An extent of an input or output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent<'a> {
    /// The same always.
    Fixed(usize),
    /// Any; those of one name are equal.
    Named(&'a str),
}

/// What a convolution or a maximum looks at, along rows and columns alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its extent.
    pub kernel: usize,
    /// From one to the next.
    pub stride: usize,
    /// Zeros before and after.
    pub padding: usize,
}

impl Window {
    fn attributes(self) -> Vec<(&'static str, Attribute)> {
        let Window { kernel, stride, padding } = self;
        [("kernel_shape", vec![kernel; 2]), ("pads", vec![padding; 4]), ("strides", vec![stride; 2])]
            .map(|(name, ints)| (name, Attribute::Ints(ints)))
            .to_vec()
    }
}

#[derive(Clone, Debug)]
enum Attribute {
    Float(f32),
    Int(usize),
    Ints(Vec<usize>),
}

/// A graph on its way to a file.
#[derive(Debug, Default)]
pub struct Graph {
    name: String,
    nodes: Message,
    initializers: Message,
    inputs: Message,
    outputs: Message,
    names: BTreeSet<String>,
    /// A name that two values have.
    twice: Option<String>,
}

impl Graph {
    /// A graph without nodes.
    pub fn new(name: &str) -> Graph {
        Graph { name: name.to_owned(), ..Graph::default() }
    }

    fn value(&mut self, name: &str) -> Value {
        if !self.names.insert(name.to_owned()) {
            self.twice = Some(name.to_owned());
        }
        Value(name.to_owned())
    }

    /// An input, of f32.
    pub fn input(&mut self, name: &str, shape: &[Extent]) -> Value {
        self.inputs = std::mem::take(&mut self.inputs).message(11, value_info(name, shape));
        self.value(name)
    }

    /// Declares a value an output, of f32.
    pub fn output(&mut self, value: &Value, shape: &[Extent]) {
        self.outputs = std::mem::take(&mut self.outputs).message(12, value_info(&value.0, shape));
    }

    /// A weight; its bytes are copied.
    pub fn initializer(&mut self, tensor: &NamedTensor) -> Value {
        // TensorProto: dims 1, data_type 2, name 8, raw_data 9.
        let head = tensor.shape.iter().fold(Message::default(), |m, &n| m.int(1, n as i64));
        let head = head.int(2, data_type(tensor.dtype)).bytes(8, &tensor.name).announce(9, tensor.data.len());
        let mut all = std::mem::take(&mut self.initializers).announce(5, head.0.len() + tensor.data.len());
        all.0.extend(head.0);
        all.0.extend(&tensor.data);
        self.initializers = all;
        self.value(&tensor.name)
    }

    fn node(&mut self, operator: &str, name: &str, inputs: &[&Value], attributes: &[(&str, Attribute)]) -> Value {
        // NodeProto: input 1, output 2, name 3, op_type 4, attribute 5.
        let node = inputs.iter().fold(Message::default(), |m, value| m.bytes(1, &value.0));
        let node = node.bytes(2, name).bytes(3, name).bytes(4, operator);
        let node = attributes.iter().fold(node, |m, (name, value)| m.message(5, attribute(name, value)));
        self.nodes = std::mem::take(&mut self.nodes).message(1, node);
        self.value(name)
    }

    /// Cross-correlation with `weight` [out, in, kernel, kernel], plus `bias` [out].
    pub fn conv(&mut self, name: &str, x: &Value, weight: &Value, bias: Option<&Value>, window: Window) -> Value {
        let inputs: Vec<&Value> = [x, weight].into_iter().chain(bias).collect();
        self.node("Conv", name, &inputs, &window.attributes())
    }

    /// The adjoint of a convolution, with `weight` [in, out, kernel, kernel], plus `bias` [out]. Each extent becomes
    /// (n − 1) stride − 2 padding + kernel + `output_padding`.
    pub fn conv_transpose(
        &mut self,
        name: &str,
        x: &Value,
        weight: &Value,
        bias: Option<&Value>,
        window: Window,
        output_padding: usize,
    ) -> Value {
        let inputs: Vec<&Value> = [x, weight].into_iter().chain(bias).collect();
        let mut attributes = window.attributes();
        attributes.push(("output_padding", Attribute::Ints(vec![output_padding; 2])));
        self.node("ConvTranspose", name, &inputs, &attributes)
    }

    /// (x − mean) / √(variance + ε) · scale + shift, by channel; `parameters` are scale, shift, mean and variance,
    /// [channels] each.
    pub fn batch_norm(&mut self, name: &str, x: &Value, parameters: [&Value; 4], epsilon: f32) -> Value {
        let [scale, shift, mean, variance] = parameters;
        let inputs = [x, scale, shift, mean, variance];
        self.node("BatchNormalization", name, &inputs, &[("epsilon", Attribute::Float(epsilon))])
    }

    /// x where it is positive, else x · slope; `slope` is [1], or [channels, 1, 1].
    pub fn prelu(&mut self, name: &str, x: &Value, slope: &Value) -> Value {
        self.node("PRelu", name, &[x, slope], &[])
    }

    /// The channels of one after those of the other.
    pub fn concat(&mut self, name: &str, values: &[&Value]) -> Value {
        self.node("Concat", name, values, &[("axis", Attribute::Int(1))])
    }

    /// a + b.
    pub fn add(&mut self, name: &str, a: &Value, b: &Value) -> Value {
        self.node("Add", name, &[a, b], &[])
    }

    /// The largest value of each window.
    pub fn max_pool(&mut self, name: &str, x: &Value, window: Window) -> Value {
        self.node("MaxPool", name, &[x], &window.attributes())
    }

    /// Writes the model; the name exists only when it is complete. `metadata` is what readers show of it.
    ///
    /// # Errors
    /// [`Fault::Data`](crate::error::Fault::Data) where two values have one name, or the file would have 2 GiB;
    /// [`Fault::CannotCreate`](crate::error::Fault::CannotCreate) where `path` exists and `overwrite` is not set, or
    /// cannot be written.
    pub fn write(self, path: &Path, metadata: &BTreeMap<String, String>, overwrite: bool) -> Result<()> {
        if let Some(name) = self.twice {
            return Err(Error::data(format!("two values of the graph have the name `{name}`")).at(path));
        }
        // GraphProto: node 1, name 2, initializer 5, input 11, output 12.
        let name = Message::default().bytes(2, self.name);
        let graph = [self.nodes, name, self.initializers, self.inputs, self.outputs];
        let length = graph.iter().map(|part| part.0.len()).sum();
        // ModelProto: ir_version 1, producer_name 2, graph 7, opset_import 8, metadata_props 14.
        let head = Message::default().int(1, IR_VERSION).bytes(2, env!("CARGO_PKG_NAME")).announce(7, length);
        // OperatorSetIdProto: version 2; the domain is ONNX's own. StringStringEntryProto: key 1, value 2.
        let tail = Message::default().message(8, Message::default().int(2, OPSET));
        let pair = |m: Message, (k, v): (&String, &String)| m.message(14, Message::default().bytes(1, k).bytes(2, v));
        let tail = metadata.iter().fold(tail, pair);
        let whole = head.0.len() + length + tail.0.len();
        if whole > MAX_BYTES {
            return Err(Error::data(format!("a model of {whole} bytes; one file of ONNX holds {MAX_BYTES}")).at(path));
        }
        let mut part = PartFile::create(path, overwrite, whole as u64)?;
        [head].iter().chain(&graph).chain([&tail]).try_for_each(|message| part.write(&message.0))?;
        part.finish()
    }
}

/// ValueInfoProto: name 1, type 2; TypeProto: tensor_type 1; its elem_type 1, shape 2; TensorShapeProto: dim 1; its
/// dim_value 1, dim_param 2.
fn value_info(name: &str, shape: &[Extent]) -> Message {
    let shape = shape.iter().fold(Message::default(), |m, extent| {
        m.message(
            1,
            match extent {
                Extent::Fixed(n) => Message::default().int(1, *n as i64),
                Extent::Named(name) => Message::default().bytes(2, name),
            },
        )
    });
    let tensor = Message::default().int(1, data_type(Dtype::F32)).message(2, shape);
    Message::default().bytes(1, name).message(2, Message::default().message(1, tensor))
}

/// AttributeProto: name 1, f 2, i 3, ints 8, type 20.
fn attribute(name: &str, value: &Attribute) -> Message {
    let message = Message::default().bytes(1, name);
    match value {
        Attribute::Float(f) => message.float(2, *f).int(20, FLOAT),
        Attribute::Int(i) => message.int(3, *i as i64).int(20, INT),
        Attribute::Ints(ints) => ints.iter().fold(message, |m, &i| m.int(8, i as i64)).int(20, INTS),
    }
}

/// `TensorProto.DataType`.
fn data_type(dtype: Dtype) -> i64 {
    match dtype {
        Dtype::F32 => 1,
        Dtype::U8 => 2,
        Dtype::I8 => 3,
        Dtype::I16 => 5,
        Dtype::I32 => 6,
        Dtype::I64 => 7,
        Dtype::Bool => 9,
        Dtype::F16 => 10,
        Dtype::F64 => 11,
        Dtype::BF16 => 16,
    }
}
