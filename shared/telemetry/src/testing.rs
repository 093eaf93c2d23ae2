//! A collector inside the process, for tests that look at the spans a program exports. Not for production use.
