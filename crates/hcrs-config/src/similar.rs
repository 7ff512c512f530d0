//! The nearest known name, for the hint beside an unknown one.

/// Least similarity of two names for a hint, from 0 to 1.
const MIN_SIMILARITY: f64 = 0.65;

/// Returns the known name that is most similar to `name`, if any is similar.
pub fn nearest<'a>(known: impl IntoIterator<Item = &'a str>, name: &str) -> Option<&'a str> {
    known
        .into_iter()
        .map(|known| (strsim::normalized_damerau_levenshtein(known, name), known))
        .filter(|(similarity, _)| *similarity >= MIN_SIMILARITY)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}
