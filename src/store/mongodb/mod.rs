//! MongoDB: the documents of jobflow-remote 1.0.
