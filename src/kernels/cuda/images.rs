//! The kernels as the program carries them: PTX of compute capability 8.0, made of `kernels/*.cu` by the compiler that
//! `kernels/prebuilt/manifest.toml` names, and compiled by the driver for the device it finds.

use crate::provenance::Digest;
use std::collections::BTreeMap;

macro_rules! images {
    ($($file:literal),*) => {
        [$(($file, include_str!(concat!("../../../kernels/prebuilt/", $file, ".ptx")))),*]
    };
}

/// What the images are, for records.
pub const KIND: &str = "PTX of compute capability 8.0, compiled by the driver";

/// PTX by the file of `kernels` that it was made of.
const IMAGES: [(&str, &str); 19] = images!(
    "adam",
    "augment",
    "batchnorm",
    "conv",
    "cross_entropy",
    "fast_batchnorm",
    "fast_conv",
    "fast_cross_entropy",
    "fast_filter",
    "fast_narrow",
    "fast_pool",
    "fast_weight_gradient",
    "filter",
    "maps",
    "narrow",
    "pool",
    "step",
    "weight_gradient",
    "windows"
);

/// A kernel: which file holds it, and how many bytes each of its arguments has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// File of `kernels`.
    pub file: &'static str,
    /// Bytes of each argument.
    pub parameters: Vec<usize>,
}

/// The image of a file's kernels.
pub fn ptx(file: &str) -> &'static str {
    IMAGES.iter().find(|(name, _)| *name == file).map_or("", |(_, ptx)| ptx)
}

/// One digest of all images, for records.
pub fn digest() -> Digest {
    Digest::of(&IMAGES.iter().flat_map(|(_, ptx)| ptx.bytes()).collect::<Vec<u8>>())
}

/// All kernels by name, read from the images:
///
/// ```text
/// .visible .entry NAME(
///     .param .u64 NAME_param_0,
///     .param .align 8 .b8 NAME_param_1[240]
/// )
/// ```
pub fn kernels() -> BTreeMap<&'static str, Kernel> {
    let entries = |&(file, ptx): &(&'static str, &'static str)| -> Vec<(&'static str, Kernel)> {
        let texts = ptx.split(".entry ").skip(1);
        let entry = |text: &'static str| {
            let (name, rest) = text.split_once('(')?;
            let (list, _) = rest.split_once("\n)")?;
            let parameters = list.split(".param").skip(1).map(bytes_of).collect::<Option<_>>()?;
            Some((name, Kernel { file, parameters }))
        };
        texts.filter_map(entry).collect()
    };
    IMAGES.iter().flat_map(entries).collect()
}

/// Bytes of a parameter.
fn bytes_of(declaration: &str) -> Option<usize> {
    if let Some((_, count)) = declaration.split_once('[') {
        return count.split(']').next()?.parse().ok();
    }
    let wide = [".u64", ".s64", ".b64", ".f64"].iter().any(|t| declaration.contains(t));
    let word = [".u32", ".s32", ".b32", ".f32"].iter().any(|t| declaration.contains(t));
    if wide { Some(8) } else { word.then_some(4) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_and_their_arguments_are_read_from_the_images() {
        let kernels = kernels();
        assert_eq!(kernels["clear_borders"], Kernel { file: "maps", parameters: vec![8, 16, 4] });
        assert_eq!(kernels["accumulate"].parameters, [8, 8, 8]);
        assert!(kernels.len() >= 25, "{} kernels", kernels.len());
        assert_eq!(bytes_of(" .u16 x"), None);
    }

    /// What is wrong with a line of PTX: a sum or product whose rounding is left open, which the driver's compiler may
    /// contract; what is approximate or flushes subnormal numbers; and a sum in memory of numbers that are no whole ones,
    /// whose order is whoever comes first.
    fn wrong(line: &str) -> Option<&'static str> {
        line.split([';', '{', '}']).find_map(wrong_statement)
    }

    fn wrong_statement(statement: &str) -> Option<&'static str> {
        let opcode = statement.split_whitespace().find(|word| !word.starts_with('@'))?;
        let parts: Vec<&str> = opcode.split('.').collect();
        let any = |of: &[&str]| parts.iter().any(|part| of.contains(part));
        let float = parts.last().is_some_and(|t| ["f32", "f64"].contains(t));
        let arithmetic = ["add", "sub", "mul", "fma", "mad", "div", "sqrt", "rcp"].contains(&parts[0]);
        if float && arithmetic && !any(&["rn"]) {
            return Some("its rounding is left open");
        }
        if any(&["approx", "ftz"]) {
            return Some("approximate");
        }
        let atomic = ["atom", "red", "multimem"].contains(&parts[0]);
        (atomic && any(&["f16", "f16x2", "bf16", "bf16x2", "f32", "f64"])).then_some("its order is left open")
    }

    #[test]
    fn every_rounding_and_order_of_the_images_is_written_down() {
        for (file, ptx) in IMAGES {
            for line in ptx.lines() {
                assert_eq!(wrong(line), None, "{file}: {line}");
            }
            assert!(ptx.contains(".target sm_80") && ptx.contains(".version 8.0"), "{file}");
        }
        for (line, why) in [
            ("add.f32 %f1, %f2, %f3;", "its rounding is left open"),
            ("@%p1 mul.f64 %fd1, %fd2, %fd3;", "its rounding is left open"),
            ("ex2.approx.f32 %f1, %f2;", "approximate"),
            ("fma.rn.ftz.f32 %f1, %f2, %f3, %f4;", "approximate"),
            ("atom.global.add.f32 %f1, [%rd1], %f2;", "its order is left open"),
            ("@%p1 red.relaxed.gpu.global.add.f64 [%rd1], %fd1;", "its order is left open"),
            ("@!%p2 atom.shared.add.noftz.f16x2 %r1, [%r2], %r3;", "its order is left open"),
            ("{ atom.add.noftz.f16x2 %r1,[%rd1],%r2; }", "its order is left open"),
            ("red.global.add.noftz.f16 [%rd1], %rs1;", "its order is left open"),
            ("red.global.add.noftz.bf16 [%rd1], %rs1;", "its order is left open"),
        ] {
            assert_eq!(wrong(line), Some(why), "{line}");
        }
        for line in ["", "add.rn.f32 %f1, %f2, %f3;", "atom.global.add.u32 %r1, [%rd1], 1;", "add.s32 %r1, %r2, %r3;"] {
            assert_eq!(wrong(line), None, "{line}");
        }
    }
}
