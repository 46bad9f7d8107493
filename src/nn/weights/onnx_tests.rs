//! Graphs whose files other people's runtimes have read: `testdata/weights/make.py check`.

use super::onnx::{Extent, Graph, Value, Window};
use super::tests::testdata;
use super::*;
use crate::error::Fault;
use crate::testing::Scratch;

/// Compares a graph's file with the one that was checked; with `TOMOLITH_WRITE_TESTDATA` in the environment it is
/// written for the next check.
fn is_the_file_that_was_checked(graph: Graph, name: &str) {
    let dir = Scratch::new("onnx");
    let metadata = BTreeMap::from([("variant".to_owned(), "monai".to_owned())]);
    graph.write(&dir.join(name), &metadata, false).unwrap();
    let bytes = std::fs::read(dir.join(name)).unwrap();
    if std::env::var_os("TOMOLITH_WRITE_TESTDATA").is_some() {
        std::fs::write(testdata(name), &bytes).unwrap();
    }
    assert!(bytes == std::fs::read(testdata(name)).unwrap(), "{name} differs; write and check it again");
}

/// MONAI's residual U-Net, operator by operator.
struct Monai<'a> {
    graph: Graph,
    dict: &'a StateDict,
}

impl Monai<'_> {
    fn weight(&mut self, name: &str) -> Value {
        self.graph.initializer(self.dict.get(name).unwrap())
    }
    fn conv(&mut self, name: &str, x: &Value, stride: usize, transposed: bool) -> Value {
        let (w, b) = (self.weight(&format!("{name}.weight")), self.weight(&format!("{name}.bias")));
        let window = Window { kernel: 3, stride, padding: 1 };
        match transposed {
            true => self.graph.conv_transpose(name, x, &w, Some(&b), window, stride - 1),
            false => self.graph.conv(name, x, &w, Some(&b), window),
        }
    }
    /// BatchNorm and PReLU; dropout is nothing here.
    fn adn(&mut self, name: &str, x: &Value) -> Value {
        let parts =
            ["weight", "bias", "running_mean", "running_var"].map(|part| self.weight(&format!("{name}.N.{part}")));
        let x = self.graph.batch_norm(&format!("{name}.N"), x, parts.each_ref(), 1e-5);
        let slope = self.weight(&format!("{name}.A.weight"));
        self.graph.prelu(&format!("{name}.A"), &x, &slope)
    }
    /// A residual unit: its blocks, and its shortcut where it has one.
    fn unit(&mut self, name: &str, x: &Value, stride: usize) -> Value {
        let mut y = x.clone();
        for block in 0..2 {
            let block_name = format!("{name}.conv.unit{block}");
            if self.dict.get(&format!("{block_name}.conv.weight")).is_none() {
                break;
            }
            y = self.conv(&format!("{block_name}.conv"), &y, if block == 0 { stride } else { 1 }, false);
            if self.dict.get(&format!("{block_name}.adn.A.weight")).is_some() {
                y = self.adn(&format!("{block_name}.adn"), &y);
            }
        }
        let residual = format!("{name}.residual");
        let shortcut = match self.dict.get(&format!("{residual}.weight")).is_some() {
            true => self.conv(&residual, x, stride, false),
            false => x.clone(),
        };
        self.graph.add(name, &y, &shortcut)
    }
    /// The level `name` and all below.
    fn level(&mut self, name: &str, x: &Value) -> Value {
        let down = self.unit(&format!("{name}.0"), x, 2);
        let inner = format!("{name}.1.submodule");
        let below = match self.dict.get(&format!("{inner}.0.conv.unit0.conv.weight")).is_some() {
            true => self.level(&inner, &down),
            false => self.unit(&inner, &down, 1),
        };
        let both = self.graph.concat(&format!("{name}.1"), &[&down, &below]);
        let up = self.conv(&format!("{name}.2.0.conv"), &both, 2, true);
        let up = self.adn(&format!("{name}.2.0.adn"), &up);
        self.unit(&format!("{name}.2.1"), &up, 1)
    }
}

#[test]
fn a_residual_u_net_is_the_file_that_onnxruntime_computes_as_torch() {
    let dict = read(&testdata("monai.pt")).unwrap();
    let mut net = Monai { graph: Graph::new("ResUNet"), dict: &dict };
    let any =
        |channels| [Extent::Named("batch"), Extent::Fixed(channels), Extent::Named("height"), Extent::Named("width")];
    let x = net.graph.input("image", &any(1));
    let y = net.level("model", &x);
    net.graph.output(&y, &any(3));
    is_the_file_that_was_checked(net.graph, "monai.onnx");
}

#[test]
fn pooling_is_the_file_that_onnxruntime_computes_as_torch() {
    let mut graph = Graph::new("pool");
    let shape = |h, w| [Extent::Named("batch"), Extent::Fixed(2), Extent::Fixed(h), Extent::Fixed(w)];
    let x = graph.input("x", &shape(6, 8));
    let y = graph.max_pool("y", &x, Window { kernel: 2, stride: 2, padding: 0 });
    graph.output(&y, &shape(3, 4));
    is_the_file_that_was_checked(graph, "pool.onnx");
}

#[test]
fn two_values_of_one_name_are_refused() {
    let dir = Scratch::new("onnx-twice");
    let mut graph = Graph::new("twice");
    let a = graph.input("a", &[]);
    graph.add("a", &a, &a);
    let e = graph.write(&dir.join("a.onnx"), &BTreeMap::new(), false).unwrap_err();
    assert!(e.fault() == Fault::Data && e.what().contains("`a`"), "{e}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}
