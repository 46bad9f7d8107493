//! `tomolith net forward`: logits of images.

use super::{INPUT, OVERWRITE, WEIGHTS};
use crate::cli::options::{Opt, Takes};
use crate::cli::{Command, Context};
use crate::error::Result;
use crate::exchange::npy::write_array;
use crate::kernels::Cpu;
use crate::nn::infer::{Plan, Workspace};

/// The command.
pub const COMMAND: Command = Command {
    path: &["net", "forward"],
    about: "Compute the logits of images",
    details: "Evaluation: running statistics, no dropout. Writes f32 of shape (N, K, H, W) and prints the digest of its \
              numbers, which is the same for any threads and instruction set.",
    examples: "  tomolith net forward --weights monai.pt --input x.npy --output logits.npy",
    groups: &[(
        "",
        &[WEIGHTS, INPUT, Opt::new("output", Takes::Value("FILE.npy"), "Logits to write").short('o'), OVERWRITE],
    )],
    run,
};

fn run(c: &Context) -> Result<()> {
    let s = &c.settings;
    let (loaded, _) = super::open(&s.required_path("weights")?)?;
    let input = s.required_path("input")?;
    let image = super::images(&input)?;
    let shape = image.shape();
    loaded.network.config.check_size(shape.h, shape.w).map_err(|e| e.at(&input))?;
    let logits = Plan::new(&loaded.network).run(&Cpu { isa: c.isa }, &image, &mut Workspace::default(), |_| ());
    let of = logits.shape();
    write_array(&s.required_path("output")?, &[of.n, of.c, of.h, of.w], &logits.to_nchw(), s.is_on("overwrite")?)?;
    c.out.line(format!("logits {}", super::lanes_digest(logits.data().iter()).hex()))
}
