//! Judges a recorded history: `tidegate-history FILE`, or `-` for standard input.
//!
//! Exit code 0 if every promise was kept, 1 if one was broken, 2 if there is nothing
//! to judge.
#![expect(clippy::print_stdout, reason = "the report is for people")]

use std::fs::File;
use std::io::{BufReader, stdin};
use std::process::ExitCode;

use tidegate_history::{History, ReadError, judge};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file] = arguments.as_slice() else {
        eprintln!("Usage: tidegate-history FILE   (- for standard input)");
        return ExitCode::from(2);
    };
    match read(file) {
        Ok(history) if history.records().is_empty() => {
            eprintln!("{file} holds no record");
            ExitCode::from(2)
        }
        Ok(history) => {
            let verdict = judge(&history);
            print!("{verdict}");
            if verdict.judged.is_empty() {
                eprintln!("{file} holds nothing that a rule could judge");
                return ExitCode::from(2);
            }
            ExitCode::from(u8::from(!verdict.holds()))
        }
        Err(error) => {
            eprintln!("{file}: {error}");
            ExitCode::from(2)
        }
    }
}

fn read(file: &str) -> Result<History, ReadError> {
    match file {
        "-" => History::read(stdin().lock()),
        file => History::read(BufReader::new(File::open(file)?)),
    }
}
