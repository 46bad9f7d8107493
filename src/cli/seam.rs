use crate::cli::doctor::Verdict;
pub fn reading(_: &std::path::Path) -> Verdict {
    Verdict::Note("x".into())
}
