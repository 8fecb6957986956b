//! Parts of a project file that are kept as they are written.

use std::fmt;

use bson::{Bson, Document};

/// Settings of something else's (a pymongo client, a store of maggma), kept for it and never printed: they may hold
/// passwords under names of their own.
#[derive(Clone, PartialEq, Default)]
pub struct RawSettings(Document);

impl RawSettings {
    /// Returns the settings as written.
    pub fn as_document(&self) -> &Document {
        &self.0
    }

    /// Returns the settings themselves, which are printable from then on.
    pub fn into_document(self) -> Document {
        self.0
    }

    /// Returns one setting.
    pub fn get(&self, key: &str) -> Option<&Bson> {
        self.0.get(key)
    }

    /// Returns whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<Document> for RawSettings {
    fn from(document: Document) -> Self {
        Self(document)
    }
}

impl fmt::Debug for RawSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
