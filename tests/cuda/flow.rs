//! Images that go to a device and what is told of them that comes back while kernels run: the numbers of who waits for each.

use super::device::{cuda, maps};
use super::fast::{Checked, fast};
use tomolith::error::Result;
use tomolith::kernels::buffer::{Buffer, View};
use tomolith::kernels::maps::{Maps, Shape};
use tomolith::kernels::windows::{Axis, Band, Grid, Part, Told};
use tomolith::kernels::{Cpu, Kernels};
use tomolith::nn::config::Config;
use tomolith::nn::infer::{Plan, Workspace};
use tomolith::nn::network::Network;
use tomolith::num::lanes::Isa;
use tomolith::num::philox::Stream;
use tomolith::segment::orient::Plane;
use tomolith::segment::predict::{Dropping, Grey, Map, Net, predict};
use tomolith::segment::windows::{Importance, Logits, Windows};
use tomolith::volume::{Collect, Dims, Memory, Sink};

/// One image after the other, of several sizes, each of which overwrites the second before it.
#[test]
#[ignore = "needs a device or the mock driver: run by tests/cuda.rs"]
fn flow_of_images_that_nobody_waits_for() {
    let (cuda, cpu) = (cuda(), Cpu { isa: Isa::detect() });
    let plan = Plan::new(&Network::new(Config::monai(&[8, 12], 2), 1));
    let sizes = [8, 8, 8, 8, 16, 12, 8, 16];
    let images: Vec<_> =
        sizes.iter().enumerate().map(|(i, &size)| maps::<f32>(Shape::new(1, 1, size, size), 40 + i as u32)).collect();
    for says in [true, false] {
        let start = |image: &Maps<f32>| {
            let (sliding, s, pixels) = (cuda.sliding(), image.shape(), image.to_nchw());
            let axis = Axis::new(s.h, s.h, 0.0);
            let grid = Grid { rows: axis, columns: axis, classes: 2 };
            let (mut window, mut sums) = (Maps::zeros(s), Buffer::zeros(grid.sums()));
            let weights = Buffer::from(vec![1.0; s.h * s.w]);
            let sent = sliding.send(&pixels).unwrap();
            sliding.cut(&grid, View::from(&sent), 0..1, 0, &mut window);
            if says {
                sliding.is_cut();
            }
            let logits = plan.run(&cuda, &window, &mut Workspace::default(), |_| ());
            sliding.add_up(&grid, Part { logits: &logits, sample: 0, first: 0 }, 0, 0..1, &weights, &mut sums);
            sliding.finish(&grid, 0..s.h, Told::Logits, &mut sums)
        };
        let found: Vec<_> = images.iter().map(start).collect();
        for (i, (image, found)) in images.iter().zip(&found).enumerate() {
            let expected = plan.run(&cpu, image, &mut Workspace::default(), |_| ()).to_nchw();
            let Band::Logits(found) = found else { panic!("logits were asked for") };
            let pixels = expected.len() / 2;
            let same = |(i, l): (usize, &f32)| *l == expected[i % 2 * pixels + i / 2];
            assert!(found.look().unwrap().iter().enumerate().all(same), "other logits of image {i}");
        }
    }
    cuda.so_far().unwrap();
}

const DIMS: [usize; 3] = [4, 20, 37];

/// A volume of noise in windows that overlap; some maps of it.
pub fn volume(net: &mut dyn Logits, batch: usize, maps: &[Map]) -> Result<Vec<Vec<f32>>> {
    let (dims, stream) = (Dims::new(DIMS[0], DIMS[1], DIMS[2]).unwrap(), Stream::new(4, 1));
    let grey: Vec<f32> = (0..dims.voxels() as u64).map(|i| stream.uniform_f32(i)).collect();
    let volume = Memory::new(dims, grey).unwrap();
    let windows = Windows::new([16; 2], 0.25, Importance::Gaussian, batch).unwrap();
    let mut collected: Vec<Collect> = maps.iter().map(|_| Collect::new(dims)).collect();
    let mut sinks: Vec<(Map, &mut dyn Sink)> =
        maps.iter().zip(&mut collected).map(|(map, c)| (*map, c as &mut dyn Sink)).collect();
    predict(&volume, Plane::Xy, Grey { low: 0.0, high: 1.0 }, &windows, net, &mut sinks, &|_, _| ())?;
    Ok(collected.into_iter().map(|c| c.values).collect())
}

/// Windows of slices, strict and fast: what one who waits for every batch makes of them. Images cross the bus once, and two
/// bytes of each pixel come back.
#[test]
#[ignore = "needs a device or the mock driver: run by tests/cuda.rs"]
fn flow_of_a_volume_is_that_of_windows_one_by_one() {
    let (network, maps) = (Network::new(Config::monai(&[8, 12], 3), 1), [Map::Class, Map::Confidence]);
    let strict = cuda();
    let (device, voxels) = (strict.device().clone(), DIMS.iter().product::<usize>() as u64);
    let expected = volume(&mut Net::new(&network, Cpu { isa: Isa::detect() }, None), 1, &maps).unwrap();
    let mut net = Net::new(&network, strict, None);
    // Batches of some windows of a row, and of the windows of several images.
    for batch in [2, 5, 13] {
        let before = device.traffic();
        let found = volume(&mut net, batch, &maps).unwrap();
        assert!(found == expected, "another volume");
        let now = device.traffic();
        assert_eq!(now.received - before.received, 2 * voxels, "what is told comes back, and nothing else");
        // Of the second volume on the weights are there; sums and windows' weights are new.
        let sent = now.sent - before.sent;
        let of_windows = 4 * 16 * (16 + 37 * 4);
        assert!(batch == 2 || sent == 4 * voxels + of_windows, "{sent} bytes sent of {voxels} voxels");
    }
    let expected = volume(&mut Net::new(&network, Checked::unchecked(), None), 2, &maps).unwrap();
    for batch in [2, 5] {
        let found = volume(&mut Net::new(&network, fast(), None), batch, &maps).unwrap();
        assert!(found == expected, "another fast volume");
    }
}

/// Passes with dropout, all of them or their mean: as on the CPU, and nothing is looked at in between.
#[test]
#[ignore = "needs a device or the mock driver: run by tests/cuda.rs"]
fn flow_of_passes_is_that_of_the_cpu() {
    let network = Network::new(Config::monai(&[8, 12], 3), 1);
    let maps = [Map::Class, Map::Mutual, Map::Entropy];
    for (mean, of_batch) in [(false, false), (true, false), (false, true)] {
        fn of<K: Kernels>(kernels: K, network: &Network, of_batch: bool, mean: bool) -> Dropping<K> {
            let net = Dropping::new(network, kernels, 3, 0.2, 7, of_batch);
            if mean { net.of_mean_logits() } else { net }
        }
        let cuda = cuda();
        let device = cuda.device().clone();
        let expected = volume(&mut of(Cpu { isa: Isa::detect() }, &network, of_batch, mean), 1, &maps).unwrap();
        let found = volume(&mut of(cuda, &network, of_batch, mean), 3, &maps).unwrap();
        assert!(found == expected, "other passes: mean {mean}, of the batch {of_batch}");
        let told = 3 * DIMS.iter().product::<usize>() as u64;
        assert!(of_batch || device.traffic().received == told, "{} bytes came back", device.traffic().received);
    }
    // Fast: the same whatever goes together.
    let [one, three] =
        [1, 3].map(|batch| volume(&mut Dropping::new(&network, fast(), 3, 0.2, 7, false), batch, &maps).unwrap());
    assert!(one == three, "other fast passes");
}
