//! Graphs whose files other people's runtimes have read: `testdata/weights/make.py check`.

use super::onnx::{Extent, Graph, Window};
use super::tests::testdata;
use super::*;
use crate::error::Fault;
use crate::nn::{export, state};
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

#[test]
fn a_residual_u_net_is_the_file_that_onnxruntime_computes_as_torch() {
    let network = state::load(&read(&testdata("monai.pt")).unwrap()).unwrap().network;
    is_the_file_that_was_checked(export::onnx(&network), "monai.onnx");
}

/// The operators that MONAI's network lacks and the one of the paper's text has.
#[test]
fn pooling_and_small_windows_are_the_file_that_onnxruntime_computes_as_torch() {
    let mut graph = Graph::new("windows");
    let weight = |graph: &mut Graph, name: &str, shape: &[usize]| {
        // Multiples of 1/8, which no sum rounds.
        let values: Vec<f32> = (0..shape.iter().product()).map(|i: usize| (i * 5 % 17) as f32 / 8.0 - 1.0).collect();
        graph.initializer(NamedTensor::from_f32(name, shape, &values))
    };
    let shape = |channels, h, w| [Extent::Named("batch"), Extent::Fixed(channels), Extent::Fixed(h), Extent::Fixed(w)];
    let x = graph.input("x", &shape(2, 6, 8));
    let pooled = graph.max_pool("pooled", &x, Window { kernel: 2, stride: 2, padding: 0 });
    let (w, b) = (weight(&mut graph, "up.weight", &[2, 3, 2, 2]), weight(&mut graph, "up.bias", &[3]));
    let up = graph.conv_transpose("up", &pooled, &w, Some(&b), Window { kernel: 2, stride: 2, padding: 0 }, 0);
    let both = graph.concat("both", &[&x, &up]);
    let w = weight(&mut graph, "head.weight", &[3, 5, 1, 1]);
    let head = graph.conv("head", &both, &w, None, Window { kernel: 1, stride: 1, padding: 0 });
    let slopes = weight(&mut graph, "slopes", &[3, 1, 1]);
    let y = graph.prelu("y", &head, &slopes);
    graph.output(&y, &shape(3, 6, 8));
    is_the_file_that_was_checked(graph, "windows.onnx");
}

#[test]
fn a_graph_that_no_reader_would_take_is_refused() {
    let dir = Scratch::new("onnx-refused");
    let foreign = Graph::new("other").input("b", &[]);
    let cut = NamedTensor { data: vec![0; 3], ..NamedTensor::from_f32("w", &[], &[1.0]) };
    for (case, why) in ["two values", "another graph", "3 bytes"].into_iter().enumerate() {
        let mut graph = Graph::new("refused");
        let a = graph.input("a", &[]);
        match case {
            0 => graph.add("a", &a, &a),
            1 => graph.add("c", &a, &foreign),
            _ => graph.initializer(cut.clone()),
        };
        let e = graph.write(&dir.join("a.onnx"), &BTreeMap::new(), false).unwrap_err();
        assert!(e.fault() == Fault::Data && e.what().contains(why), "{e}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}
