//! L4. The network as an ONNX graph, for other people's runtimes: an operator per step, weights under their names in the
//! state dict, BatchNorm in evaluation, dropout left out.
//!
//! Input `image` (batch, channels, height, width), f32; output `logits` (batch, K, height, width). Height and width are any
//! multiples of [`super::config::Config::multiple`].

use super::network::{Network, Step};
use super::weights::NamedTensor;
use super::weights::onnx::{Extent, Graph, Value, Window};
use crate::kernels::batchnorm::EPSILON;

/// The graph of a network.
pub fn onnx(network: &Network) -> Graph {
    let mut graph = Graph::new("ResUNet");
    let any = |c: usize| [Extent::Named("batch"), Extent::Fixed(c), Extent::Named("height"), Extent::Named("width")];
    let mut values = vec![graph.input("image", &any(network.config.inputs))];
    let weight = |graph: &mut Graph, p: usize| {
        let parameter = &network.parameters[p];
        let tensor = NamedTensor::from_f32(parameter.name.clone(), &parameter.kind.torch(), &parameter.get());
        graph.initializer(tensor)
    };
    let last = network.steps.len();
    for (number, step) in network.steps.iter().enumerate() {
        // The last node is the output, and has its name.
        let is_last = number + 1 == last;
        let name = |text: &str, ends: bool| if is_last && ends { "logits".to_string() } else { text.to_string() };
        let base = |p: usize| network.parameters[p].name.rsplit_once('.').map_or("", |(base, _)| base).to_string();
        let sum = |graph: &mut Graph, text: &str, y: Value, add: &Option<usize>, values: &[Value]| match add {
            Some(add) => graph.add(&name(&format!("{text}.sum"), true), &y, &values[*add]),
            None => y,
        };
        let value = match step {
            Step::Convolution { from, filter, add, .. } => {
                let text = base(*filter);
                let x = match from[..] {
                    [one] => values[one].clone(),
                    _ => graph.concat(&format!("{text}.cat"), &from.iter().map(|&v| &values[v]).collect::<Vec<_>>()),
                };
                let (w, b) = (weight(&mut graph, *filter), weight(&mut graph, filter + 1));
                let window = network.parameters[*filter].filter().window;
                let shape = Window { kernel: window.k, stride: window.stride, padding: (window.k - 1) / 2 };
                let node = name(&text, add.is_none());
                let y = if window.transposed {
                    // So many rows more, that their number doubles.
                    graph.conv_transpose(&node, &x, &w, Some(&b), shape, window.k - 2)
                } else {
                    graph.conv(&node, &x, &w, Some(&b), shape)
                };
                sum(&mut graph, &text, y, add, &values)
            }
            Step::Activation { from, norm, slope, add, .. } => {
                let (mut y, mut text) = (values[*from].clone(), String::new());
                if let Some(norm) = norm {
                    let parts = [norm.gamma, norm.beta(), norm.mean(), norm.variance()].map(|p| weight(&mut graph, p));
                    text = base(norm.gamma);
                    let node = name(&text, add.is_none() && slope.is_none());
                    y = graph.batch_norm(&node, &y, parts.each_ref(), EPSILON as f32);
                }
                if let Some(slope) = slope {
                    text = base(*slope);
                    let slope = weight(&mut graph, *slope);
                    y = graph.prelu(&name(&text, add.is_none()), &y, &slope);
                }
                sum(&mut graph, &text, y, add, &values)
            }
            Step::MaxPool { from } => {
                let node = name(&format!("pool.{number}"), true);
                graph.max_pool(&node, &values[*from], Window { kernel: 2, stride: 2, padding: 0 })
            }
        };
        values.push(value);
    }
    graph.output(&values[last], &any(network.config.classes));
    graph
}
