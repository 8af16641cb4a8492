//! What `migrate capture` stores.

use super::*;

fn outcome(request: &CaptureRequest, world: &Seen) -> String {
    match plan_capture(request, &catalog(), &world.database) {
        Ok(capture) => {
            let words: Vec<&str> = capture.items.iter().map(|item| item.becomes.name()).collect();
            words.join(" ")
        }
        Err(refusals) => refusals.codes().join(" "),
    }
}

fn replacing(number: &str) -> CaptureRequest {
    CaptureRequest {
        stage: false,
        replace: Some(version(number)),
    }
}

#[test]
fn d3_what_is_applied_is_captured_and_the_rest_only_staged() {
    let (plain, stage) = (
        CaptureRequest::default(),
        CaptureRequest {
            stage: true,
            replace: None,
        },
    );
    let mut world = foreign_ledger::seen_by_sqlx();
    assert_eq!(outcome(&plain, &world), "unchanged unchanged unchanged unchanged");
    world.database.archive.remove(1);
    assert_eq!(outcome(&plain, &world), "unchanged captured unchanged unchanged");
    world.database.ledger.pop();
    assert_eq!(
        outcome(&stage, &world),
        "unchanged captured unchanged staged",
        "captured once, and undone by its tool"
    );
    world.database.archive.pop();
    assert_eq!(outcome(&plain, &world), "unchanged captured unchanged");
    assert_eq!(outcome(&stage, &world), "unchanged captured unchanged staged");
}

#[test]
fn d3_what_was_captured_is_replaced_only_by_name() {
    let plain = CaptureRequest::default();
    let mut world = foreign_ledger::seen_by_sqlx();
    world.database.archive[3].ledger_sequence = Some(99);
    assert_eq!(outcome(&plain, &world), "stale-capture");
    let fourth = SHOP[3].0;
    assert_eq!(
        outcome(&replacing(fourth), &world),
        "unchanged unchanged unchanged replaced"
    );
    let mut world = foreign_ledger::seen_by_sqlx();
    world.database.archive[3].down_sha256 = Some(Digest::of("another"));
    assert_eq!(outcome(&plain, &world), "down-edited");
    assert_eq!(
        outcome(&replacing(fourth), &world),
        "unchanged unchanged unchanged replaced"
    );
    world.database.ledger[3].up_checksum = Some(crate::model::Checksum::sha384(b"another"));
    assert_eq!(outcome(&replacing(fourth), &world), "up-edited");
    assert_eq!(
        outcome(&replacing("7"), &foreign_ledger::seen_by_sqlx()),
        "schema-unknown"
    );
}
