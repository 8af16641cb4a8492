//! Layouts: names and contents of files to migrations. One file a layout.

pub(super) mod stepback;
