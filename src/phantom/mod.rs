//! L3. Objects whose projections and truth are known exactly.

pub mod discs;
pub mod matter;
pub mod scan;
pub mod specimen;
