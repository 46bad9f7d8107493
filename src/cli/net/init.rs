//! `tomolith net init`: a network that has learnt nothing yet.

use super::{CHANNELS, CLASSES, OVERWRITE, SEED, VARIANT};
use crate::cli::options::{Opt, Takes};
use crate::cli::{Command, Context, values};
use crate::error::Result;
use crate::nn::network::Network;
use crate::nn::{state, weights};

/// The command.
pub const COMMAND: Command = Command {
    path: &["net", "init"],
    about: "Make the weights of a network that has learnt nothing",
    details: "Weights are drawn as PyTorch draws them, from a seed: the same seed gives the same file everywhere.",
    examples: "  tomolith net init --classes 5 -o start.safetensors\n  \
               tomolith net init --variant paper --channels 8,16,32 --classes 3 -o small.safetensors",
    groups: &[(
        "",
        &[
            Opt::new("output", Takes::Value("FILE"), "File to write, .safetensors").short('o'),
            VARIANT,
            CHANNELS,
            CLASSES,
            SEED,
            OVERWRITE,
        ],
    )],
    run,
};

fn run(c: &Context) -> Result<()> {
    let s = &c.settings;
    let config = super::config(s, None)?;
    let network = Network::new(config, s.parsed("seed", values::seed)?);
    weights::write_safetensors(&s.required_path("output")?, &state::save(&network, ""), s.is_on("overwrite")?)?;
    c.out.line(format!("parameters {}", network.parameter_count()))
}
