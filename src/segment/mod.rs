//! L5. Labels and segmentation: what somebody said a voxel is, what a network says, and how well the two agree.
//!
//! | file | what |
//! |---|---|
//! | [`classes`] | a table of classes: ids, names, colours; what a file's values mean |
//! | [`ledger`] | the labels of a volume with the origin of each, on disk |
//! | [`orient`] | axes and planes: other orders of axes, slices in three planes |
//! | [`import`] | labels of other programs |
//! | [`lint`] | what is wrong with labels; how two sets of them differ; what they hold |
//! | [`explained`] | whether labels lie as the grey values do |
//! | [`confusion`] | counts of truth and prediction, and every figure that follows from them |
//! | [`boundary`] | boundary IoU |
//! | [`calibration`] | whether a confidence is one |
//! | [`evaluate`] | volumes of both, slice by slice |
//! | [`bootstrap`] | intervals, slices drawn again |
//! | [`patches`] | which squares of which slices are learnt from |
//! | [`split`] | which of them train, validate and test, and what leaks between |
//! | [`windows`] | sliding windows: where they start, how they are weighed and averaged |
//! | [`predict`] | a network over a volume |
//! | [`scale`] | whether grey values are those that a network knows |
//! | [`learn`] | patches in memory, to learn from |
//! | [`augment`] | patches shifted, turned, stretched and disturbed |
//! | [`merge`] | several predictions become one set of labels |
//! | [`propose`] | which slices to label next |
//! | [`after`] | edges, depth windows, splits by depth |
//! | [`depths`] | those windows from the electrodes of a scan |
//! | [`round`] | commands with the digests of what they make, a graph that can be done again |
//! | [`rules`] | the text files of rules and tables |
//!
//! A label is a class id in a u8, [`UNLABELLED`] where nobody said anything. Values of foreign files never reach this
//! room but through a [`classes::Mapping`].

pub mod after;
pub mod augment;
pub mod bootstrap;
pub mod boundary;
pub mod calibration;
pub mod classes;
pub mod confusion;
pub mod depths;
pub mod evaluate;
pub mod explained;
pub mod import;
pub mod learn;
pub mod ledger;
pub mod lint;
pub mod merge;
pub mod orient;
pub mod patches;
pub mod predict;
pub mod propose;
pub mod round;
pub mod rules;
pub mod scale;
pub mod split;
pub mod windows;

/// The label of a voxel that nobody labelled.
pub const UNLABELLED: u8 = 255;
/// Most classes: ids are 0 … 254.
pub const MOST_CLASSES: usize = UNLABELLED as usize;
