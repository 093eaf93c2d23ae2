//! Cuts are compared with documents that are put together from pieces, so that it
//! is known where they may be cut.

use super::*;
use proptest::prelude::*;

fn cut(html: &str, at: usize) -> Result<(), String> {
    let size = html.len() as u64;
    let at = at as u64;
    let parts = [
        Part::Slice { start: 0, end: at },
        Part::Slice {
            start: at,
            end: size,
        },
    ];
    check_cuts(html.as_bytes(), &parts).map_err(|error| error.reason)
}

/// `|` marks the cut.
fn cut_at_bar(html: &str) -> Result<(), String> {
    let at = html.find('|').unwrap();
    cut(&html.replacen('|', "", 1), at)
}

#[test]
fn cuts_in_text_and_between_tags_are_allowed() {
    for html in [
        "<p>a|b</p>",
        "<p>|<b>x</b></p>",
        "<!DOCTYPE html>|<html>",
        "<script>a</script>|<p>",
        "<!-- c -->|x",
        "a < b| c",
        "a &amp;| b",
        "a &amp| b",
        "AT&T| b",
        "<svg><path/></svg>|x",
        "<svg/>|x",
        "<p>\r\n|\r\n</p>",
        "<p>é|é</p>",
        "<table>|<tr>",
        "<svg><title/><style/></svg><p>|x",
        "<svg><![CDATA[</svg>]]></svg>|x",
        "<title>&lt;</title>|<p>",
        "<p>x</>|y",
        "<a href=\"<script>\">|x",
        "<script><!--<script></script>--></script>|x",
    ] {
        assert_eq!(cut_at_bar(html), Ok(()), "{html}");
    }
}

#[test]
fn cuts_inside_anything_else_are_refused() {
    for (html, inside) in [
        ("<p cl|ass=a>", "a tag"),
        ("<|p>", "a tag"),
        ("<p class=\"a|b\">", "a tag"),
        ("<p class='>|'>", "a tag"),
        ("</|p>", "a tag"),
        ("x<|/>y", "a tag"),
        ("<!-- a|b -->", "a comment"),
        ("<!-- a -->x<!-|- b -->", "a comment"),
        ("<? p|i >", "a comment"),
        ("<!DOC|TYPE html><p>", "the doctype"),
        ("<script>|let a</script>", "<script>"),
        ("<script>if (a<b)| c</script>", "<script>"),
        ("<script><!--<script></script>|--></script>x", "<script>"),
        ("<SCRIPT>a|b</SCRIPT>", "<script>"),
        ("<style>a|{}</style>", "<style>"),
        ("<title>a|b</title>", "<title>"),
        ("<textarea><p>|</p></textarea>", "<textarea>"),
        ("<noscript><p>|</noscript>", "<noscript>"),
        ("<noframes><p>|</noframes>", "<noframes>"),
        ("<iframe>|</iframe>", "<iframe>"),
        ("<xmp>|</xmp>", "<xmp>"),
        ("<plaintext>a|b</plaintext>c", "<plaintext>"),
        ("<plaintext>a</plaintext>|c", "<plaintext>"),
        ("<script>never closed|x", "<script>"),
        ("<p class=never|closed", "a tag"),
        ("<!-- never| closed", "a comment"),
        ("<svg><g>|</g></svg>", "<svg>"),
        ("<svg><svg></svg>|</svg>", "<svg>"),
        ("<math>|</math>", "<math>"),
        ("<svg><![CDATA[</svg>|]]></svg>", "<svg>"),
        ("a&am|p;", "a character reference"),
        ("a&#3|8;", "a character reference"),
        ("a&|amp;", "a character reference"),
    ] {
        let error = cut_at_bar(html).expect_err(html);
        assert!(error.contains(inside), "{html}: {error}");
    }
}

#[test]
fn a_cut_inside_a_character_is_refused() {
    let error = cut("<p>é</p>", 4).unwrap_err();
    assert!(error.contains("a UTF-8 sequence"), "{error}");
}

fn kinds(html: &str) -> Vec<(usize, usize, MarkerKind)> {
    let markers = markers(html.as_bytes()).unwrap();
    let at = |offset: u64| usize::try_from(offset).unwrap();
    markers
        .into_iter()
        .map(|marker| (at(marker.start), at(marker.end), marker.kind))
        .collect()
}

#[test]
fn markers_are_comments_with_their_positions() {
    let html =
        "<p>é\r\n</p><!--@flush:head--><!--@state-->x<!--@slot:a src=\"/b\"-->f<!--@/slot-->";
    let found = kinds(html);
    let shown: Vec<_> = found
        .iter()
        .map(|(start, end, kind)| (&html[*start..*end], kind.clone()))
        .collect();
    assert_eq!(
        shown,
        [
            ("<!--@flush:head-->", MarkerKind::Flush),
            ("<!--@state-->", MarkerKind::State),
            ("<!--@slot:a src=\"/b\"-->", MarkerKind::Slot),
            ("<!--@/slot-->", MarkerKind::Slot),
        ]
    );
}

#[test]
fn markers_in_other_places_or_of_other_shape_do_nothing() {
    assert_eq!(kinds("<script>'<!--@state-->'</script>"), []);
    assert_eq!(kinds("<p title='<!--@state-->'>"), []);
    assert_eq!(kinds("<!-- @state -->"), []);
    for unknown in ["@flush", "@flush:", "@flush:a b", "@states", "@"] {
        let found = kinds(&format!("<!--@flush:a--><!--{unknown}-->"));
        assert_eq!(found[1].2, MarkerKind::Unknown(unknown.to_owned()));
    }
    let found = kinds("<svg><!--@state--></svg>");
    assert_eq!(found[0].2, MarkerKind::Ineffective("<svg>".to_owned()));
}

#[test]
fn too_many_markers_are_refused() {
    let html = "<!--@flush:a-->".repeat(2 * MAX_PARTS + 1);
    assert!(markers(html.as_bytes()).is_err());
}

/// A piece of a document, and where it may be cut inside.
#[derive(Debug, Clone)]
struct Known {
    html: String,
    cuts: Vec<usize>,
}

fn uncut(html: impl Into<String>) -> Known {
    Known {
        html: html.into(),
        cuts: Vec::new(),
    }
}

fn piece() -> impl Strategy<Value = Known> {
    let inner = "[a-z<>&\"' =/\\-!\n]{0,12}";
    prop_oneof![
        // A space at each end, so that neighbours do not merge into something new.
        "[a-z éß.;\r\n]{0,12}".prop_map(|text| {
            let html = format!(" {text} ");
            let cuts = html.char_indices().map(|(at, _)| at).skip(1).collect();
            Known { html, cuts }
        }),
        ("[a-z]{1,3}", "[a-z<>' =&\n]{0,8}")
            .prop_map(|(name, value)| { uncut(format!("<x-{name} a=\"{value}\" b='>' c>")) }),
        "[a-z]{1,3}".prop_map(|name| uncut(format!("</x-{name} >"))),
        inner.prop_filter_map("the comment would end", |text| {
            let ends = text.contains("-->") || text.contains("--!>");
            let starts = text.starts_with('>') || text.starts_with("->");
            let dash = text.ends_with('-') || text.ends_with("<!");
            (!ends && !starts && !dash).then(|| uncut(format!("<!--{text}-->")))
        }),
        (
            prop_oneof![
                Just("style"),
                Just("title"),
                Just("textarea"),
                Just("noscript")
            ],
            inner
        )
            .prop_filter_map("the element would end", |(name, text)| {
                (!text.contains("</")).then(|| uncut(format!("<{name}>{text}</{name}>")))
            }),
        "[a-z<>&\"' =\n]{0,12}".prop_map(|text| uncut(format!("<script>{text}</script >"))),
        "[a-z =\n]{0,8}".prop_map(|text| uncut(format!("<svg><path d=\"{text}\"/>{text}</svg>"))),
        Just(uncut("<br/>")),
    ]
}

proptest! {
    #[test]
    fn exactly_the_known_places_may_be_cut(pieces in prop::collection::vec(piece(), 1..8)) {
        let mut html = String::new();
        let mut allowed = std::collections::BTreeSet::new();
        for piece in &pieces {
            allowed.insert(html.len());
            allowed.extend(piece.cuts.iter().map(|cut| html.len() + cut));
            html.push_str(&piece.html);
        }
        for at in 1..html.len() {
            let result = cut(&html, at);
            prop_assert_eq!(
                result.is_ok(), allowed.contains(&at),
                "cut at {} of {:?}: {:?}", at, html, result
            );
        }
    }

    #[test]
    fn nothing_from_outside_panics(
        bytes in prop::collection::vec(
            prop_oneof![any::<u8>(), prop::sample::select(&b"<>/!-=\"'& \r\nscriptsvg@[]DOCTYPE"[..])],
            0..200
        ),
        at in any::<prop::sample::Index>(),
    ) {
        let _ = markers(&bytes);
        let at = at.index(bytes.len() + 1) as u64;
        let parts = [Part::Slice { start: 0, end: at }];
        let _ = check_cuts(&bytes, &parts);
    }
}
