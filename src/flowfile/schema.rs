//! The JSON Schema of the format, for editors.

/// Returns the JSON Schema (draft 2020-12) of a flow file.
///
/// Whatever [`super::parse`] accepts fits it; it cannot say everything that `parse` checks.
pub fn schema() -> serde_json::Value {
    // A test reads it; `null` allows everything.
    serde_json::from_str(include_str!("schema.json")).unwrap_or_default()
}
