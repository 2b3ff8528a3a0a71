//! SPECs: which ones are accepted and refused, and what a refusal suggests.

use rand::rngs::ChaCha8Rng;
use rand::{RngExt as _, SeedableRng as _};

use crate::adversary::{MAX_LIARS, Spec, parse_list};
use crate::protocol::testing::network;

#[test]
fn good_specs_read_and_print_in_their_shortest_form() {
    let key = "ab".repeat(32);
    let censor = format!("censor:author={key}:author=n1");
    for (text, printed) in [
        ("forge", "forge"),
        ("forge@after=2s", "forge@after=2s"),
        ("forge@always", "forge"),
        ("drop", "drop"),
        ("drop:p=1.0", "drop"),
        ("drop:p=0.500@p=0.2", "drop:p=0.5@p=0.2"),
        ("flood:rate=500:what=valid+drop:p=0.5", "flood:rate=500:what=valid+drop:p=0.5"),
        ("flood:what=garbage", "flood"),
        ("flood:what=announce:rate=5", "flood:rate=5:what=announce"),
        ("delay", "delay:by=500ms"),
        ("delay:by=60000ms", "delay:by=1m"),
        ("promise:rate=20", "promise"),
        ("promise:rate=7@p=0.5", "promise:rate=7@p=0.5"),
        ("gap:every=3:rate=20:size=64", "gap"),
        ("gap:size=1048576:every=2:rate=5", "gap:every=2:rate=5:size=1048576"),
        ("gap@between=0s..3s", "gap@between=0s..3s"),
        ("false-floor+false-differ", "false-floor+false-differ"),
        ("false-credit", "false-credit"),
        ("false-credit:what=crumbs", "false-credit:what=crumbs"),
        ("restart:rate=10+promise", "restart+promise"),
        (" tamper + replay@between=5s..1500ms0 ", ""),
        ("tamper + replay@between=500ms..20s", "tamper+replay@between=500ms..20s"),
        (&censor, &censor),
        ("malformed@p=1", "malformed"),
        ("stall@after=0s", "stall@after=0s"),
        ("drop@between=0s..5s+tamper@after=5s", "drop@between=0s..5s+tamper@after=5s"),
    ] {
        let spec: Result<Spec, _> = text.parse();
        if printed.is_empty() {
            assert!(spec.is_err(), "{text}");
            continue;
        }
        let spec = spec.unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(spec.to_string(), printed);
        assert_eq!(printed.parse(), Ok(spec), "{printed}");
    }
}

#[test]
fn lists_are_specs_or_a_number() {
    let list = parse_list("forge,drop:p=0.5, flood").expect("a list");
    assert_eq!(
        list.iter().map(Spec::to_string).collect::<Vec<_>>(),
        ["forge", "drop:p=0.5", "flood"]
    );
    let four: Vec<String> =
        parse_list("4").expect("a number").iter().map(Spec::to_string).collect();
    assert_eq!(four, ["forge", "drop", "flood", "forge"]);
    assert_eq!(parse_list("0"), Ok(vec![]));
    assert_eq!(parse_list(&MAX_LIARS.to_string()).map(|list| list.len()), Ok(MAX_LIARS));
    for bad in ["", " ", "1025", "99999999999999999999999", "forge,", ",forge", "-1", "1.5"] {
        assert!(parse_list(bad).is_err(), "{bad}");
    }
    let kinds: Vec<_> = list[1].kinds().collect();
    assert_eq!(kinds, ["drop"]);
}

#[test]
fn bad_specs_are_refused_with_a_reason_and_a_suggestion() {
    for (text, suggestion, says) in [
        ("forg", Some("forge"), "is not a behaviour"),
        ("Forge", Some("forge"), "is not a behaviour"),
        ("mallformed", Some("malformed"), "is not a behaviour"),
        ("equivocate", None, "not implemented"),
        ("twin", None, "not implemented"),
        ("equivocat", Some("equivocate"), "is not a behaviour"),
        ("drop:q=1", None, "not a parameter of drop"),
        ("flood:rat=5", Some("rate"), "not a parameter of flood"),
        ("flood:what=garbag", Some("garbage"), "not a kind of flood"),
        ("forge:p=0.2", Some("forge@p=…"), "takes none"),
        ("drop:p", None, "write key=value"),
        ("drop:p=0", None, "not a probability"),
        ("drop:p=1.1", None, "not a probability"),
        ("drop:p=NaN", None, "not a probability"),
        ("drop:p=0.5:p=0.5", None, "twice"),
        ("censor", Some("censor:author=n0"), "needs an author"),
        ("censor:author=a:author=a", None, "twice"),
        ("delay:by=61s", None, "too long"),
        ("delay:by=0s", None, "delays nothing"),
        ("delay:by=5", None, "write 5ms, 5s or 5m"),
        ("delay:by=-5s", None, "is negative"),
        ("delay:by=99999999999999999999s", None, "not a duration"),
        ("flood:rate=0", None, "per second, 1 to"),
        ("forge@aftr=2s", Some("after=10s"), "not a time"),
        ("forge@between=5s", None, "not a time range"),
        ("forge@between=5s..2s", Some("between=2s..5s"), "before it begins"),
        ("forge@between=5s..5s", None, "before it begins"),
        ("forge@after=2s@p=0.1", None, "more than one time"),
        ("forge@after=2s:p=0.1", None, "write the time last"),
        ("forge@after=25m0", None, "not a duration"),
        ("forge@after=1441m", None, "too long"),
        ("forge+forge", Some("forge"), "twice; give it once"),
        ("drop+drop:p=0.5", None, "use two nodes"),
        ("drop+stall", None, "contradicts itself"),
        ("stall+forge", None, "contradicts itself"),
        ("drop+delay", Some("drop:p=0.5+delay:by=500ms"), "contradicts itself"),
        ("tamper+drop:p=1", Some("drop:p=0.5+tamper"), "contradicts itself"),
        ("promis", Some("promise"), "is not a behaviour"),
        ("false-flor", Some("false-floor"), "is not a behaviour"),
        ("promise:rate=0", None, "per second, 1 to"),
        ("gap:every=1", None, "2 to 1000"),
        ("gap:size=1048577", None, "0 to 1048576 bytes"),
        ("gap:evry=3", Some("every"), "not a parameter of gap"),
        ("false-credit:what=crumb", Some("crumbs"), "not a lie about credit"),
        ("false-floor:p=0.5", Some("false-floor@p=…"), "takes none"),
        ("gap+restart", None, "both change"),
        ("restart@p=0.5+gap", None, "both change"),
        ("promise+stall", None, "contradicts itself"),
        ("forge,drop", None, "several SPECs"),
        ("forge+", None, "names no behaviour"),
    ] {
        let error = text.parse::<Spec>().expect_err(text);
        assert_eq!(error.suggestion.as_deref(), suggestion, "{text}: {error}");
        assert!(error.to_string().contains(says), "{text}: {error}");
    }
    let long = format!("\u{1b}[31m{}", "x".repeat(500));
    let error = long.parse::<Spec>().expect_err("nonsense");
    assert!(error.part.len() < 100 && !error.to_string().contains('\u{1b}'), "{error}");
}

#[test]
fn a_list_may_give_to_two_nodes_what_one_cannot_do() {
    for (text, suggestion) in [
        ("stall+forge", "stall,forge"),
        ("drop+drop:p=0.5", "drop,drop:p=0.5"),
        ("gap+restart", "gap,restart"),
    ] {
        let error = parse_list(text).expect_err(text);
        assert_eq!(error.suggestion.as_deref(), Some(suggestion), "{error}");
        assert!(parse_list(suggestion).is_ok());
    }
}

#[test]
fn a_censored_author_must_be_in_the_network_file() {
    let network = network(4, 0);
    let key = network.keys()[0].key;
    for good in ["censor:author=n2".to_owned(), format!("censor:author={key}")] {
        assert_eq!(good.parse::<Spec>().expect("reads").check(&network), Ok(()));
    }
    let error = "censor:author=n22".parse::<Spec>().expect("reads").check(&network);
    assert_eq!(error.expect_err("nobody").suggestion.as_deref(), Some("n2"));
}

#[test]
fn nothing_makes_the_parser_panic() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let words = [
        "forge",
        "drop",
        "flood",
        "censor",
        "delay",
        "stall",
        ":",
        "=",
        "@",
        "+",
        ",",
        "p",
        "by",
        "rate",
        "what",
        "author",
        "after",
        "between",
        "..",
        "0",
        "1",
        "0.5",
        "5s",
        "250ms",
        "é",
        "\u{0}",
        "9999999999999999999999",
        ".",
        " ",
        "valid",
        "always",
        "gap",
        "promise",
        "every",
        "size",
        "false-credit",
        "crumbs",
    ];
    let mut good = 0;
    for _ in 0..20_000 {
        let count = rng.random_range(0..10);
        let text: String = (0..count).map(|_| words[rng.random_range(0..words.len())]).collect();
        for spec in parse_list(&text).into_iter().flatten() {
            good += 1;
            assert_eq!(spec.to_string().parse(), Ok(spec), "{text}");
        }
    }
    assert!(good > 100, "only {good} were good");
}
