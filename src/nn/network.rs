//! L4. The network as a list of steps over numbered values, and its parameters under their names in a state dict.
//!
//! ```text
//! unit (Cin → C, stride s)    x → [conv 3×3 → between] × blocks → + R(x)
//!   R: x itself where s = 1 and Cin = C; 1×1 convolution where only channels differ; 3×3 convolution where s = 2
//! monai   level l: unit of stride 2 … bottom unit … conv-transposed of (skip, below) → between → conv → between → + its input
//! paper   level l: max-pool, unit … conv-transposed of below, unit of (skip, it) … 1×1 convolution
//! ```
//!
//! Every convolution has a bias; a PReLU has one slope. Parameters stand in the order of PyTorch's state dict.

use super::config::{Config, Down, Head, Order, Up};
use crate::kernels::buffer::Buffer;
use crate::kernels::filter::FilterShape;
use crate::kernels::maps::Shape;
use crate::kernels::stencil::Window;
use crate::num::lanes::Lane;
use crate::num::philox::Stream;
use crate::tensor::parameter::{Kind, Parameter};

/// A number of a value: 0 is the image, 1 the first step's.
pub type Value = usize;

/// Parameters of a BatchNorm, by index; they follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Norm {
    /// γ; β, the running mean and the running variance follow.
    pub gamma: usize,
}

impl Norm {
    /// β.
    pub fn beta(self) -> usize {
        self.gamma + 1
    }
    /// Running mean.
    pub fn mean(self) -> usize {
        self.gamma + 2
    }
    /// Running variance.
    pub fn variance(self) -> usize {
        self.gamma + 3
    }
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// y = w ∗ (from …) + b (+ add).
    Convolution {
        /// Values whose channels follow one another.
        from: Vec<Value>,
        /// Its filter; the bias follows it.
        filter: usize,
        /// Whether a BatchNorm follows directly.
        normalised: bool,
        /// Added.
        add: Option<Value>,
    },
    /// z = PReLU(dropout(BatchNorm(x))) (+ add), each where it is there.
    Activation {
        /// x.
        from: Value,
        /// BatchNorm.
        norm: Option<Norm>,
        /// Slope of the PReLU.
        slope: Option<usize>,
        /// Number of the dropout layer.
        dropout: Option<u32>,
        /// Added.
        add: Option<Value>,
    },
    /// The largest of 2×2.
    MaxPool {
        /// x.
        from: Value,
    },
}

impl Step {
    /// The filter of a convolution.
    pub fn filter(&self) -> Option<usize> {
        if let Step::Convolution { filter, .. } = self { Some(*filter) } else { None }
    }
}

/// The network.
#[derive(Clone, Debug)]
pub struct Network {
    /// Its architecture.
    pub config: Config,
    /// In the order of PyTorch's state dict.
    pub parameters: Vec<Parameter>,
    /// In the order of the forward pass.
    pub steps: Vec<Step>,
    /// Batches that the running statistics have seen, a count per BatchNorm.
    pub batches: Vec<u64>,
    /// Channels of each value.
    channels: Vec<usize>,
}

impl Network {
    /// The network of a configuration with PyTorch's initial weights of `seed`: weights and biases of a convolution
    /// uniform in ±1/√(fan in), fan in = k² times the second axis of PyTorch's weights (the *outputs* of a transposed
    /// convolution); γ = 1, β = 0, running mean 0 and variance 1, slopes 0.25. Number i of parameter p is drawn from
    /// stream p at i.
    pub fn new(config: Config, seed: u64) -> Network {
        let mut network = Network {
            config: config.clone(),
            parameters: Vec::new(),
            steps: Vec::new(),
            batches: Vec::new(),
            channels: vec![config.inputs],
        };
        let last = config.channels.len() - 1;
        match (config.down, config.up, config.head) {
            (Down::Strided, Up::Transposed3, Head::Residual) => network.monai(last),
            _ => network.paper(last),
        }
        network.initialise(seed);
        network
    }

    /// All trained numbers.
    pub fn parameter_count(&self) -> usize {
        self.parameters.iter().filter(|p| p.trained).map(|p| p.kind.torch().iter().product::<usize>()).sum()
    }
    /// Names of the counters of batches, in the order of [`Network::batches`], and the parameter that each follows.
    pub fn counters(&self) -> Vec<(String, usize)> {
        let counter = |(i, p): (usize, &Parameter)| {
            p.name.strip_suffix("running_var").map(|name| (format!("{name}num_batches_tracked"), i))
        };
        self.parameters.iter().enumerate().filter_map(counter).collect()
    }
    /// Channels of a value.
    pub fn channels(&self, value: Value) -> usize {
        self.channels[value]
    }

    /// Shape of each value for images of a shape, which is that of value 0.
    pub fn shapes(&self, image: Shape) -> Vec<Shape> {
        let mut shapes = vec![image];
        for step in &self.steps {
            shapes.push(match step {
                Step::Convolution { from, filter, .. } => {
                    let (s, filter) = (shapes[from[0]], self.parameters[*filter].filter());
                    Shape { c: filter.outputs, h: filter.window.output(s.h), w: filter.window.output(s.w), ..s }
                }
                Step::Activation { from, .. } => shapes[*from],
                Step::MaxPool { from } => {
                    let s = shapes[*from];
                    Shape { h: s.h / 2, w: s.w / 2, ..s }
                }
            });
        }
        shapes
    }

    fn initialise(&mut self, seed: u64) {
        let mut bound = 0.0;
        for (p, parameter) in self.parameters.iter_mut().enumerate() {
            let torch = parameter.kind.torch();
            let name = parameter.name.as_str();
            let fill = |v: f32| Some(v).filter(|_| parameter.kind == Kind::Channels(torch[0]));
            let constant = match name.rsplit('.').next() {
                Some("running_mean") => fill(0.0),
                Some("running_var") => fill(1.0),
                _ if name.contains(".A.") => fill(0.25),
                Some("weight") => fill(1.0),
                _ if name.contains(".N.") => fill(0.0),
                _ => None,
            };
            if let Kind::Filter(filter) = &parameter.kind {
                bound = 1.0 / ((torch[1] * filter.taps()) as f64).sqrt();
            }
            let stream = Stream::new(seed, p as u32);
            let draw = |i: usize| constant.unwrap_or((bound * (2.0 * stream.uniform_f64(i as u64) - 1.0)) as f32);
            let values: Vec<f32> = (0..torch.iter().product()).map(draw).collect();
            parameter.set(&values);
        }
    }

    fn parameter(&mut self, name: String, kind: Kind, trained: bool) -> usize {
        let values = Buffer::zeros(kind.lanes());
        self.parameters.push(Parameter { name, kind, values, trained });
        self.parameters.len() - 1
    }
    fn step(&mut self, step: Step, channels: usize) -> Value {
        self.steps.push(step);
        self.channels.push(channels);
        self.steps.len()
    }

    /// A convolution named `name`, its filter `name.weight`.
    fn convolution(
        &mut self,
        name: &str,
        from: &[Value],
        outputs: usize,
        window: Window,
        normalised: bool,
        add: Option<Value>,
    ) -> Value {
        let inputs: Vec<usize> = from.iter().map(|&v| self.channels[v]).collect();
        let shape = match from {
            [0] => FilterShape::new::<f32>(window, &inputs, outputs),
            _ => FilterShape::new::<Lane>(window, &inputs, outputs),
        };
        let filter = self.parameter(format!("{name}.weight"), Kind::Filter(shape), true);
        self.parameter(format!("{name}.bias"), Kind::Channels(outputs), true);
        self.step(Step::Convolution { from: from.to_vec(), filter, normalised, add }, outputs)
    }

    /// What stands between two convolutions, under `name.N` and `name.A`.
    fn between(&mut self, name: &str, from: Value, add: Option<Value>) -> Value {
        let c = self.channels[from];
        let norm = |network: &mut Network| {
            let gamma = network.parameter(format!("{name}.N.weight"), Kind::Channels(c), true);
            network.parameter(format!("{name}.N.bias"), Kind::Channels(c), true);
            network.parameter(format!("{name}.N.running_mean"), Kind::Channels(c), false);
            network.parameter(format!("{name}.N.running_var"), Kind::Channels(c), false);
            network.batches.push(0);
            Some(Norm { gamma })
        };
        let slope =
            |network: &mut Network| Some(network.parameter(format!("{name}.A.weight"), Kind::Channels(1), true));
        let dropout = Some(self.batches.len() as u32);
        match self.config.order {
            Order::NormDropoutActivation => {
                let (norm, slope) = (norm(self), slope(self));
                self.step(Step::Activation { from, norm, slope, dropout, add }, c)
            }
            // A dropout's factor is not negative, so it may stand before or behind the PReLU.
            Order::ActivationDropoutNorm => {
                let slope = slope(self);
                let from = self.step(Step::Activation { from, norm: None, slope, dropout, add: None }, c);
                let norm = norm(self);
                self.step(Step::Activation { from, norm, slope: None, dropout: None, add }, c)
            }
        }
    }

    /// A residual unit of `blocks` convolutions, the first of stride `stride`.
    fn unit(&mut self, name: &str, from: &[Value], outputs: usize, stride: usize, blocks: usize) -> Value {
        let normalised = self.config.order == Order::NormDropoutActivation;
        let inputs: usize = from.iter().map(|&v| self.channels[v]).sum();
        let mut value = 0;
        for block in 0..blocks {
            let (from, stride) = if block == 0 { (from, stride) } else { (&[value][..], 1) };
            let name = format!("{name}.conv.unit{block}");
            value = self.convolution(
                &format!("{name}.conv"),
                from,
                outputs,
                Window::convolution(3, stride),
                normalised,
                None,
            );
            if block + 1 < blocks {
                value = self.between(&format!("{name}.adn"), value, None);
            }
        }
        // The shortcut is computed before the last activation, which adds it, though its parameters follow.
        let at = self.parameters.len();
        let residual = match (stride, from) {
            (1, &[x]) if inputs == outputs && x > 0 => x,
            (1, _) => {
                self.convolution(&format!("{name}.residual"), from, outputs, Window::convolution(1, 1), false, None)
            }
            _ => self.convolution(
                &format!("{name}.residual"),
                from,
                outputs,
                Window::convolution(3, stride),
                false,
                None,
            ),
        };
        let shortcut = self.parameters.split_off(at);
        let out = self.between(&format!("{name}.conv.unit{}.adn", blocks - 1), value, Some(residual));
        if let (Some(Step::Convolution { filter, .. }), false) = (self.steps.get_mut(residual - 1), shortcut.is_empty())
        {
            *filter = self.parameters.len();
        }
        self.parameters.extend(shortcut);
        out
    }

    fn monai(&mut self, last: usize) {
        let c = self.config.channels.clone();
        let level = |l: usize| format!("model{}", ".1.submodule".repeat(l));
        let (mut skips, mut value) = (Vec::new(), 0);
        for l in 0..last {
            value = self.unit(&format!("{}.0", level(l)), &[value], c[l], 2, self.config.encoder_blocks);
            skips.push(value);
        }
        value = self.unit(&level(last), &[value], c[last], 1, self.config.encoder_blocks);
        for l in (0..last).rev() {
            let (name, outputs) = (format!("{}.2", level(l)), if l == 0 { self.config.classes } else { c[l - 1] });
            value = self.convolution(
                &format!("{name}.0.conv"),
                &[skips[l], value],
                outputs,
                Window::transposed(3),
                true,
                None,
            );
            value = self.between(&format!("{name}.0.adn"), value, None);
            let unit = format!("{name}.1.conv.unit0");
            let window = Window::convolution(3, 1);
            if l == 0 {
                self.convolution(&format!("{unit}.conv"), &[value], outputs, window, false, Some(value));
            } else {
                let y = self.convolution(&format!("{unit}.conv"), &[value], outputs, window, true, None);
                value = self.between(&format!("{unit}.adn"), y, Some(value));
            }
        }
    }

    fn paper(&mut self, last: usize) {
        let c = self.config.channels.clone();
        let mut values = vec![self.unit("encoder.0", &[0], c[0], 1, self.config.encoder_blocks)];
        for l in 1..=last {
            let pooled = self.step(Step::MaxPool { from: values[l - 1] }, c[l - 1]);
            values.push(self.unit(&format!("encoder.{l}"), &[pooled], c[l], 1, self.config.encoder_blocks));
        }
        let mut value = values[last];
        for l in (0..last).rev() {
            let up = self.convolution(&format!("decoder.{l}.up"), &[value], c[l], Window::transposed(2), false, None);
            value = self.unit(&format!("decoder.{l}"), &[values[l], up], c[l], 1, self.config.decoder_blocks);
        }
        self.convolution("head", &[value], self.config.classes, Window::convolution(1, 1), false, None);
    }
}
