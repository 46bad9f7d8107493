//! `tomolith net info`: what a file of weights is.

use crate::cli::options::{Opt, Takes};
use crate::cli::{Command, Context};
use crate::error::Result;
use crate::nn::network::{Network, Step};

/// The command.
pub const COMMAND: Command = Command {
    path: &["net", "info"],
    about: "Say what network a file of weights holds",
    details: "Architecture, parameters, cost of an image of 512 x 512 and, with --verbose, every tensor.",
    examples: "  tomolith net info monai.pt\n  tomolith net info model.safetensors --verbose",
    groups: &[("", &[Opt::new("file", Takes::Argument("FILE"), "Weights: .safetensors, .pt or .ckpt")])],
    run,
};

/// Side of the image whose cost is told.
const SIDE: usize = 512;

fn run(c: &Context) -> Result<()> {
    let (loaded, dict) = super::open(&c.settings.required_path("file")?)?;
    let (network, config) = (&loaded.network, &loaded.network.config);
    let out = &c.out;
    out.line(format!("variant       {}", config.name().unwrap_or("a mixture")))?;
    out.line(format!("inputs        {}", config.inputs))?;
    out.line(format!("channels      {}", config.channels.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")))?;
    out.line(format!("classes       {}", config.classes))?;
    out.line(format!("prefix        {}", if loaded.prefix.is_empty() { "none" } else { loaded.prefix }))?;
    out.line(format!("parameters    {}", network.parameter_count()))?;
    out.line(format!("tensors       {}", network.parameters.len() + network.batches.len()))?;
    out.line(format!("batches seen  {}", network.batches.iter().max().copied().unwrap_or(0)))?;
    out.line(format!("image         rows and columns are multiples of {}", config.multiple()))?;
    let side = SIDE.next_multiple_of(config.multiple());
    let gflop: f64 = flops(network, 1, side).iter().map(|f| f / 1e9).sum();
    out.line(format!("cost          {gflop:.2} GFLOP forward, {side} x {side}"))?;
    out.line(format!("digest        {}", super::digest(network).hex()))?;
    if c.settings.is_on("verbose")? {
        for t in &dict.tensors {
            out.line(format!("{:5} {:24} {}", t.dtype.name(), format!("{:?}", t.shape), t.name))?;
        }
    }
    Ok(())
}

/// Multiply-adds, times two, of the convolution of each step; 0 of others.
pub(super) fn flops(network: &Network, n: usize, side: usize) -> Vec<f64> {
    let mut sides = vec![side];
    let mut flops = Vec::new();
    for step in &network.steps {
        let (side, flop) = match step {
            Step::Convolution { from, filter, .. } => {
                let shape = network.parameters[*filter].filter();
                let (input, output) = (sides[from[0]], shape.window.output(sides[from[0]]));
                let coarse = if shape.window.transposed { input } else { output };
                let per_pixel = shape.torch().iter().product::<usize>();
                (output, 2.0 * (n * coarse * coarse) as f64 * per_pixel as f64)
            }
            Step::Activation { from, .. } => (sides[*from], 0.0),
            Step::MaxPool { from } => (sides[*from] / 2, 0.0),
        };
        sides.push(side);
        flops.push(flop);
    }
    flops
}
