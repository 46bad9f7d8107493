//! # tomolith
//!
//! Operando X-ray micro-CT of lithium-metal cells, from raw projections to numbers, in one auditable program. Today it
//! reads a scan as a beamline wrote it, prepares it (flats, rings, phase, several fields of view), finds its rotation
//! axis and reconstructs it in true attenuation units, registers scans of one sample at several times, keeps what
//! people say a voxel is, runs the network that segments, trains it on batches and measures how right it is, makes numbers,
//! maps and a report of the classes, and does all of it in one command, from files larger than memory, with every output hashed and every bit the same for any thread count, instruction set, slab height and way of reading. What this file promises
//! is tested by `tests/architecture.rs` and named tests; what is not built yet is not mentioned.
//!
//! ```text
//! scan ── exchange ── select ── prepare ────── center ── gridrec ── volume writer ── NAME.raw .mhd .nhdr .json
//!         (Source)    (Source)  flats … −ln    axis      16 slices   (Sink) │         └─ verify
//!                                  └─ passes: what lies between is a volume, too       stitch: volumes above one another
//!                                                                                      register: volumes of other times
//!                                                                                      segment: windows ── network ── classes
//!                                                                                      analysis: classes ── numbers ── report
//! ```
//!
//! ## Five lines
//!
//! ```
//! use tomolith::recon::{filter::Filter, geometry::Angles, slice};
//! let angles = Angles::half_turn(90)?;
//! let sinogram = vec![0.5f32; 90 * 64];               // [angle][column], absorption
//! let image = slice(&sinogram, &angles, 31.5, &Filter::default())?;
//! assert_eq!(image.len(), 64 * 64);                   // attenuation per detector pixel
//! # Ok::<(), tomolith::error::Error>(())
//! ```
//!
//! ## Map
//!
//! | layer | room | what a newcomer finds there |
//! |---|---|---|
//! | 0 | [`error`], [`units`] | one error type sorted by whose fault it is; micrometre, degree |
//! | 1 | [`num`] | the arithmetic contract: lanes, fixed-order sums, elementary functions, random numbers; small matrices and rigid motions |
//! | 1 | [`json`], [`provenance`], [`os`] | canonical JSON, digests, what the operating system is asked for |
//! | 2 | [`volume`] | volumes on disk, crash-safe, verifiable; the traits [`volume::Source`] and [`volume::Sink`] |
//! | 2 | [`fft`] | Fourier transforms of sixteen signals at a time, and the naive sum they are tested against |
//! | 2 | [`optics`] | free space and phase retrieval as functions of spatial frequency |
//! | 2 | [`kernels`] | every kernel of the network: its definition and its fast version, the same bits |
//! | 3 | [`exchange`] | foreign formats: HDF5 (Data Exchange, NXtomo), TIFF, MRC, `.npy`, angle lists, PNG |
//! | 3 | [`phantom`] | objects with known truth: discs in closed form; the operando cell, how somebody would label it, and how a beamline sees it |
//! | 3 | [`recon`] | reconstruction, from counts to slices |
//! | 3 | [`register`] | rigid motions between scans with their covariance, and resampling through them |
//! | 3 | [`tensor`] | named parameters, and the tape that holds all calculus of the network |
//! | 4 | [`nn`] | the Residual U-Net: architecture, training step, inference |
//! | 5 | [`segment`] | labels with their origin, figures of merit, patches and splits, sliding windows, augmentation, rules |
//! | 6 | [`analysis`] | labelled scans become thicknesses, charges, maps, dendrites, with intervals |
//! | 7 | [`report`] | these as one page: diagrams, maps, tables, where each panel of the paper is |
//! | 8 | [`pipeline`] | the whole way as steps whose results are kept by content |
//! | 9 | [`cli`] | the commands; `main` only calls it |
//!
//! ## Invariants
//!
//! What is *absent* cannot be seen in code, so it is written here and tested:
//!
//! - A module of layer n names modules of lower layers only; siblings do not know each other. `recon` sees scans
//!   through [`volume::Source`] and knows no file format; `exchange` knows no tomography. Only `cli` joins them.
//! - Only `cli` prints and reads the environment. There is no global state but two of `os`: the flag that an
//!   interrupt sets, and the table by which a truncated memory map is named before the program ends.
//! - `unsafe` stands in `num/lanes` (intrinsics), `volume/reader.rs` (memory maps), `os.rs` and
//!   `kernels/cuda/driver.rs` and `driver/` (the GPU's driver), each block with the check that makes it sound.
//! - No result depends on time, threads, hash order or the platform's libm: [`num`] says how.
//! - An output's name exists only when it is complete, synced and hashed; its manifest is written last ([`volume`]).
//! - No file, however malformed, makes us allocate by its word or read outside its folder.
//! - No float is reduced across threads; scatter is ownership ([`recon::engine`]).
//!
//! ## How a slice keeps its bits
//!
//! Sixteen slices run in the sixteen lanes of [`num::lanes::F32x16`]; lanes never meet, so a slice has the same bits
//! in any lane, alone or in company, whichever slab it comes in. Threads divide projections, grid strips and image
//! rows of one group, each output with one owner and one order. The instruction sets differ in nothing but speed:
//! add, subtract, multiply and fused multiply-add are rounded alike everywhere.
//!
//! ## How to add
//!
//! - **a kernel**: write it once as a [`num::lanes::Kernel`], `#[inline(always)]`, without closures on the way to the
//!   lanes; put the slow definition beside it and a test that compares them.
//! - **a kernel on a GPU**: `kernels/NAME.cu` with the headings of `src/kernels/NAME.rs`, each number by the same operations
//!   in the same order; `.ci/kernels update` makes its image; `tests/cuda` compares both on the CPU, `tests/gpu` on a GPU.
//! - **a stage**: take a [`volume::Source`], feed a [`volume::Sink`]; everything that decides bits goes into the
//!   [`volume::manifest::Job`]'s parameters; give it a version, and raise it when its bits change.
//! - **a format**: implement [`volume::Source`] in `exchange`, recognise it by its first bytes, refuse what you do not
//!   read by name, and add malformed files to the tests.
//!
//! ## Size
//!
//! At most 52,000 lines of code (the goal was 30,000; reconstruction, registration and the synthetic cell without network and
//! analysis are 28,000 of them), so that one person can read all of it. Lines of comment are not counted: every
//! numerical function carries its equation, axes, units and order of summation, and a limit on those would be paid in
//! what the program is for. No file is longer than 600 lines, comments included.
//!
//! ## Dependencies
//!
//! The lean build (`--no-default-features`) has at most 30 crates, no procedural macro and no C; CI counts them and
//! builds it offline from vendored sources.
//!
//! - `rayon`: work stealing over projections, strips and rows. Never its float reductions.
//! - `memmap2`: memory maps, and anonymous memory is left to the allocator. `libc`: what std lacks (`fallocate`,
//!   `statvfs`, `sigaction`, `madvise`, `posix_fadvise`).
//! - `sha2`: SHA-256 with the processor's own instructions. `half`, pinned: f16 in `.npy` and weights.
//!   `byteorder`: big-endian input.
//! - `libm`, without its architecture-dependent parts: f64 functions with the same bits on every host.
//! - `miniz_oxide`: the deflate inside PNG. `toml-span`: the configuration file, with line numbers in its errors.
//! - `clap` without derive: flags, help and near misses. Its suggestions are worth four crates.
//! - `hdf5-reader` (feature `hdf5`, default): the structure of HDF5 files in pure Rust; the elements are read here,
//!   because the crate fills missing chunks silently.
//! - `cudarc` (feature `cuda`, default; with it `libloading`): the driver of NVIDIA's GPUs, opened when it is asked
//!   for. It declares the entry points; whether they are there, and what they say, is looked after in
//!   `kernels/cuda/driver.rs`. Nothing of CUDA is needed to build.
//! - TIFF is read and written here (700 lines): rows by position without a handle for each of thousands of files, limits
//!   that follow from the file's length, the same in the lean build; the crate gives one image at a time, decoded whole.
//! - JSON and PNG are written here (490 and 300 lines): the manifest needs canonical text and a parser with limits,
//!   and the crates for both would break the lean bound.
//! - Weights are read and written here (1000 lines: safetensors, PyTorch's archives, ONNX): the crates for each bring
//!   their own JSON, zip and protobuf, and a pickle is best read by what can do nothing else.
//! - `zune-png`: another's decoder, for tests only. `criterion`: benches only; they are a package of their own, because
//!   what criterion asks of `either` would make the tests build a library that the program cannot use.

pub mod analysis;
pub mod cli;
pub mod error;
pub mod exchange;
pub mod fft;
pub mod json;
pub mod kernels;
pub mod nn;
pub mod num;
pub mod optics;
pub mod os;
pub mod phantom;
pub mod pipeline;
pub mod provenance;
pub mod recon;
pub mod register;
pub mod report;
pub mod segment;
pub mod tensor;
#[doc(hidden)]
pub mod testing;
pub mod units;
pub mod volume;
