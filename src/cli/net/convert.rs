//! `tomolith net convert`: weights as safetensors.

use super::OVERWRITE;
use crate::cli::options::{Opt, Takes};
use crate::cli::{Command, Context};
use crate::error::{Error, Result};
use crate::nn::{export, weights};

/// The command.
pub const COMMAND: Command = Command {
    path: &["net", "convert"],
    about: "Write weights as safetensors, or the network as ONNX",
    details: "Reads .safetensors, .pt and .ckpt; nothing in them is executed. Names, shapes, types and bits stay; --prefix is \
              taken from the names, and tensors without it are left out and named. To .onnx, the whole network is \
              written as a graph of operators for other runtimes: input image (batch, 1, height, width), output logits.",
    examples: "  tomolith net convert epoch=99.ckpt --prefix model. -o model.safetensors\n  \
               tomolith net convert model.safetensors -o model.onnx",
    groups: &[(
        "",
        &[
            Opt::new("file", Takes::Argument("FILE"), "Weights to read"),
            Opt::new("output", Takes::Value("FILE"), "File to write, .safetensors or .onnx").short('o'),
            Opt::new("prefix", Takes::Value("TEXT"), "What names begin with, to be taken away"),
            OVERWRITE,
        ],
    )],
    run,
};

fn run(c: &Context) -> Result<()> {
    let s = &c.settings;
    let (from, to) = (s.required_path("file")?, s.required_path("output")?);
    if to.extension().is_some_and(|e| e.eq_ignore_ascii_case("onnx")) {
        if s.is_given("prefix")? {
            return Err(
                Error::usage("--prefix with .onnx").help("what stands in front of the names is found by itself")
            );
        }
        let network = super::open(&from)?.0.network;
        let metadata = network.config.name().map(|name| ("variant".to_string(), name.to_string()));
        return export::onnx(&network).write(&to, &metadata.into_iter().collect(), s.is_on("overwrite")?);
    }
    let left_out = weights::convert(&from, &to, s.text("prefix")?.unwrap_or_default(), s.is_on("overwrite")?)?;
    left_out.iter().for_each(|name| c.talk.note(format!("left out: {name}")));
    Ok(())
}
