//! `tomolith net forward`: logits of images.

use super::{FAST, INPUT, OVERWRITE, WEIGHTS};
use crate::cli::device::{DEVICE, Device};
use crate::cli::options::{Opt, Takes};
use crate::cli::{Command, Context};
use crate::error::{Error, Result};
use crate::exchange::npy::write_array;
use crate::kernels::Kernels;
use crate::kernels::maps::Shape;
use crate::nn::fast::Ready;
use crate::os::check_interrupt;
use crate::provenance::Hasher;

/// The command.
pub const COMMAND: Command = Command {
    path: &["net", "forward"],
    about: "Compute the logits of images",
    details: "Evaluation: running statistics, no dropout. Writes f32 of shape (N, K, H, W) and prints the digest of its \
              numbers, which is the same for any threads and instruction set.",
    examples: "  tomolith net forward --weights monai.pt --input x.npy --output logits.npy",
    groups: &[(
        "",
        &[
            WEIGHTS,
            INPUT,
            FAST,
            DEVICE,
            Opt::new("output", Takes::Value("FILE.npy"), "Logits to write").short('o'),
            OVERWRITE,
        ],
    )],
    run,
};

fn run(c: &Context) -> Result<()> {
    let s = &c.settings;
    let (loaded, _) = super::open(&s.required_path("weights")?)?;
    let (input, output, overwrite) = (s.required_path("input")?, s.required_path("output")?, s.is_on("overwrite")?);
    super::check_output(&output, overwrite)?;
    let image = super::images(&input, loaded.network.config.inputs)?;
    let shape = image.shape();
    loaded.network.config.check_size(shape.h, shape.w).map_err(|e| e.at(&input))?;
    let fast = s.is_on("fast")?;
    let device = Device::open_as(c, fast)?;
    // Image by image: memory for feature maps is that of one.
    let classes = loaded.network.config.classes;
    let count = shape.n * classes * shape.h * shape.w;
    let mut ready = Ready::new(&loaded.network, fast && device.is_cpu());
    drop(loaded);
    let one = Shape { n: 1, ..shape };
    super::check_memory(one, || ready.memory(one) + 4 * count as u64)?;
    let (mut numbers, mut digest) = (Vec::with_capacity(count), Hasher::new());
    for n in 0..shape.n {
        check_interrupt()?;
        let logits = ready.run(&device, c.isa, &image.samples(n..n + 1), |_| ());
        device.check()?;
        numbers.extend(logits.to_nchw());
        ready.give(logits);
        let of_image = &numbers[n * classes * shape.h * shape.w..];
        of_image.iter().for_each(|v| digest.update(&v.to_le_bytes()));
        if of_image.iter().any(|v| !v.is_finite()) {
            return Err(Error::data(format!("logits of image {n} are not finite"))
                .help("its grey values are far from those of training, or the weights are damaged")
                .at(&input));
        }
    }
    let all = [shape.n, classes, shape.h, shape.w];
    write_array(&output, &all, &numbers, overwrite)?;
    c.out.line(format!("logits {}", digest.finish().hex()))
}
