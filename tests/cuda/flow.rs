//! Images and logits that cross the bus while kernels run: the numbers of who waits for each.

use super::device::{cuda, maps};
use super::fast::{Checked, fast};
use tomolith::kernels::maps::Shape;
use tomolith::kernels::{Cpu, Kernels};
use tomolith::nn::config::Config;
use tomolith::nn::infer::{Plan, Workspace};
use tomolith::nn::network::Network;
use tomolith::num::lanes::Isa;
use tomolith::num::philox::Stream;
use tomolith::segment::orient::Plane;
use tomolith::segment::predict::{Grey, Map, Net, predict};
use tomolith::segment::windows::{Importance, Logits, Windows};
use tomolith::volume::{Collect, Dims, Memory, Sink};

/// One image after the other, of several sizes, each of which overwrites the second before it.
#[test]
#[ignore = "needs a device or the mock driver: run by tests/cuda.rs"]
fn flow_of_images_that_nobody_waits_for() {
    let (cuda, cpu) = (cuda(), Cpu { isa: Isa::detect() });
    let plan = Plan::new(&Network::new(Config::monai(&[8, 12], 2), 1));
    let sizes = [8, 8, 8, 8, 16, 12, 8, 16];
    let images = sizes.iter().enumerate().map(|(i, &size)| maps::<f32>(Shape::new(1, 1, size, size), 40 + i as u32));
    let images: Vec<_> = images.collect();
    for fetches in [true, false] {
        let start = |image| {
            cuda.send(image);
            let logits = plan.run(&cuda, image, &mut Workspace::default(), |_| ());
            if fetches {
                cuda.fetch(&logits);
            }
            logits
        };
        let images = images.clone();
        let found: Vec<_> = images.iter().map(start).collect();
        for (i, (image, found)) in images.iter().zip(&found).enumerate() {
            let expected = plan.run(&cpu, &image.clone(), &mut Workspace::default(), |_| ());
            assert!(*found == expected, "other logits of image {i}");
        }
    }
    cuda.so_far().unwrap();
}

/// Windows of slices, strict and fast: what one who waits for every batch makes of them.
#[test]
#[ignore = "needs a device or the mock driver: run by tests/cuda.rs"]
fn flow_of_a_volume_is_that_of_windows_one_by_one() {
    let (dims, stream) = (Dims::new(4, 20, 37).unwrap(), Stream::new(4, 1));
    let grey: Vec<f32> = (0..dims.voxels() as u64).map(|i| stream.uniform_f32(i)).collect();
    let (volume, network) = (Memory::new(dims, grey).unwrap(), Network::new(Config::monai(&[8, 12], 3), 1));
    let windows = Windows::new([16; 2], 0.25, Importance::Gaussian, 2).unwrap();
    let run = |net: &mut dyn Logits| {
        let [mut class, mut confidence] = [0; 2].map(|_| Collect::new(dims));
        let mut sinks: [(Map, &mut dyn Sink); 2] = [(Map::Class, &mut class), (Map::Confidence, &mut confidence)];
        predict(&volume, Plane::Xy, Grey { low: 0.0, high: 1.0 }, &windows, net, &mut sinks, &|_, _| ()).unwrap();
        [class.values, confidence.values]
    };
    let strict = cuda();
    let (device, before) = (strict.device().clone(), strict.device().traffic());
    let expected = run(&mut Net::new(&network, Cpu { isa: Isa::detect() }, None));
    let found = run(&mut Net::new(&network, strict, None));
    assert!(found == expected, "another volume");
    // Two rows of windows of a batch of two and one alone, in positions of lanes with their border.
    let positions = 4 * 2 * 3 * 18 * 18;
    assert_eq!(device.traffic().received - before.received, 64 * positions, "logits come back, and nothing else");
    let expected = run(&mut Net::new(&network, Checked::unchecked(), None));
    let found = run(&mut Net::new(&network, fast(), None));
    assert!(found == expected, "another fast volume");
}
