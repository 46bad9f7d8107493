//! `tomolith net convert`: weights as safetensors.

use super::OVERWRITE;
use crate::cli::options::{Opt, Takes};
use crate::cli::{Command, Context};
use crate::error::Result;
use crate::nn::weights;

/// The command.
pub const COMMAND: Command = Command {
    path: &["net", "convert"],
    about: "Write weights of any format as safetensors",
    details: "Reads .safetensors, .pt and .ckpt; nothing in them is executed. Names, shapes, types and bits stay; --prefix is \
              taken from the names, and tensors without it are left out and named.",
    examples: "  tomolith net convert epoch=99.ckpt --prefix model. -o model.safetensors",
    groups: &[(
        "",
        &[
            Opt::new("file", Takes::Argument("FILE"), "Weights to read"),
            Opt::new("output", Takes::Value("FILE"), "File to write, .safetensors").short('o'),
            Opt::new("prefix", Takes::Value("TEXT"), "What names begin with, to be taken away"),
            OVERWRITE,
        ],
    )],
    run,
};

fn run(c: &Context) -> Result<()> {
    let s = &c.settings;
    let (from, to) = (s.required_path("file")?, s.required_path("output")?);
    let left_out = weights::convert(&from, &to, s.text("prefix")?.unwrap_or_default(), s.is_on("overwrite")?)?;
    left_out.iter().for_each(|name| c.talk.note(format!("left out: {name}")));
    Ok(())
}
