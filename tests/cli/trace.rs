//! `trace gridrec`: the phantom's steps as files, and what is refused.

use crate::common::{Scratch, expect, npy, run, stdout};

#[test]
fn the_phantom_is_traced_and_nothing_is_replaced_untold() {
    let folder = Scratch::new("trace");
    let output = run(&folder.0, "trace gridrec -o steps/of/phantom");
    expect(&output, 0, &[], "trace");
    let table = stdout(&output);
    // The table's last column but one is the relative L2 error: gridding for the whole, f32's rounding for each step,
    // 6e-8 times a few tens where the filter takes away what was large or many numbers of one sign are added.
    let errors: Vec<f64> =
        table.lines().skip(1).map(|l| l.split_whitespace().rev().nth(1).unwrap().parse().unwrap()).collect();
    let (whole, steps) = errors.split_last().unwrap();
    assert!(steps.len() >= 10 && steps.iter().all(|&e| e < 1e-5), "{table}");
    assert!(*whole < 2e-3 && *whole > 1e-7, "{table}");

    let steps = folder.0.join("steps/of/phantom");
    let mut names: Vec<String> =
        std::fs::read_dir(&steps).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names.len(), 25, "{names:?}");
    assert!(std::fs::read_to_string(steps.join("README.txt")).unwrap().ends_with(&table));

    let image = std::fs::read(steps.join("11_image.npy")).unwrap();
    let again = run(&folder.0, "trace gridrec -o steps/of/phantom");
    expect(&again, 73, &["00_sinogram.png", "exists"], "again");
    std::fs::remove_file(steps.join("00_sinogram.png")).unwrap();
    expect(&run(&folder.0, "trace gridrec -o steps/of/phantom"), 73, &["00_sinogram.npy"], "half a set");
    let ramlak = run(&folder.0, "trace gridrec -o steps/of/phantom --overwrite --filter ramlak --isa scalar");
    expect(&ramlak, 0, &[], "overwrite");
    assert_ne!(std::fs::read(steps.join("11_image.npy")).unwrap(), image);
}

#[test]
fn options_of_a_scan_need_a_scan() {
    let folder = Scratch::new("trace-options");
    for (words, says) in
        [("--row 1", "--row"), ("--center 3", "--center"), ("--pixel 1um", "--pixel"), ("--theta t.txt", "--theta")]
    {
        expect(&run(&folder.0, &format!("trace gridrec -o steps {words}")), 2, &[says, "scan"], words);
    }
    folder.write("file", "");
    let taken = run(&folder.0, "trace gridrec -o file");
    assert_ne!(taken.status.code(), Some(0));
    assert!(!folder.0.join("steps").exists());
}

#[test]
fn a_convolution_and_a_training_step_are_traced() {
    let folder = Scratch::new("trace-net");
    let output = run(&folder.0, "trace conv -o conv");
    expect(&output, 0, &["0 differ", "fused multiply-add"], "conv");
    // Nine terms, and the last sum is the output of the mean filter in the middle of the disc.
    let text = stdout(&output);
    let terms: Vec<&str> =
        text.lines().skip_while(|l| !l.starts_with("tap")).skip(1).take_while(|l| !l.is_empty()).collect();
    let sum: f32 = terms.last().unwrap().split_whitespace().last().unwrap().parse().unwrap();
    assert!(terms.len() == 9 && (sum - 1.0).abs() < 0.1, "{text}");
    for name in ["0_input.png", "1_filter.npy", "2_output_by_definition.png", "3_output_fast.npy", "README.txt"] {
        assert!(folder.0.join("conv").join(name).exists(), "{name}");
    }
    expect(&run(&folder.0, "trace conv -o conv"), 73, &["exists"], "again");
    folder.write("w.npy", npy(&[2, 1, 2, 2], &[1.0; 8]));
    folder.write("t.npy", npy(&[1, 2, 2, 2], &[1.0; 8]));
    expect(&run(&folder.0, "trace conv --filter w.npy -o x"), 65, &["1 x 1 or 3 x 3"], "even");
    expect(
        &run(&folder.0, "trace conv --filter t.npy --transposed -o up"),
        0,
        &["stride 2, transposed", "0 differ"],
        "up",
    );
    expect(&run(&folder.0, "trace conv --at 32,0 -o x"), 2, &["32 x 32"], "outside");
    for variant in ["monai", "paper"] {
        let output = run(&folder.0, &format!("trace step --variant {variant} --size 16 -o {variant}"));
        expect(&output, 0, &["cross-entropy", "Adam", "loss before"], variant);
        let text = stdout(&output);
        assert!(!text.contains("DIFFERENT"), "{text}");
        let losses: Vec<f64> = text.lines().last().unwrap().split([' ', ',']).filter_map(|w| w.parse().ok()).collect();
        assert!(losses.len() == 2 && losses[1] < losses[0], "{text}");
    }
    expect(&run(&folder.0, "trace step --size 15 -o x"), 65, &["multiples of 4"], "size");
}
