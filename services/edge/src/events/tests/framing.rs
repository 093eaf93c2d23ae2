//! The bytes on the wire.

use proptest::prelude::*;

use super::{Parser, Told, at};
use crate::events::frame::{Detail, write, write_reset};

fn parse(bytes: &[u8]) -> Vec<Told> {
    Parser::default().feed(bytes)
}

#[test]
fn a_frame_is_id_event_data_and_a_blank_line() {
    let mut out = Vec::new();
    write(&mut out, Some("x1"), "price", "one\ntwo\r\nthree\rfour\n");
    assert_eq!(
        std::str::from_utf8(&out).unwrap(),
        "id: x1\nevent: price\ndata: one\ndata: two\ndata: three\ndata: four\ndata: \n\n"
    );
}

#[test]
fn a_reset_says_why() {
    let mut out = Vec::new();
    write_reset(&mut out, &at(7), "below-floor", Detail::Plain);
    write_reset(&mut out, &at(7), "below-floor", Detail::Full);
    let told = parse(&out);
    assert_eq!(told[0].data, "\"below-floor\"");
    let id = at(7).to_string();
    assert_eq!(
        told[1].data,
        format!(r#"{{"reason":"below-floor","revision":"{id}"}}"#)
    );
}

proptest! {
    #[test]
    fn no_text_adds_a_field_or_ends_the_event(data in "(\\PC|[\r\n :]|(id|event|data|retry): ?){0,40}") {
        let mut out = Vec::new();
        write(&mut out, Some("x1"), "price", &data);
        let told = parse(&out);
        let normal = data.replace("\r\n", "\n").replace('\r', "\n");
        prop_assert_eq!(told, vec![Told { id: "x1".into(), event: "price".into(), data: normal }]);
    }
}
