//! Input that is unusual and valid arrives as it was sent.

use serde_json::Value;

use crate::support::{DEADLINE, Sender, shared_stack};

#[test]
fn the_longest_text_arrives_character_by_character() {
    let stack = shared_stack();
    let sender = Sender::new(stack);
    // Four bytes in UTF-8, two units in UTF-16, one character.
    let text = "𝄞".repeat(999) + "\n";
    let answer = sender.post_message(&text);
    assert_eq!(answer.status, 202, "{answer:?}");
    let id = answer.json().unwrap()["message_id"].as_str().unwrap().to_owned();
    let line = stack.wait_for_delivery(&id, DEADLINE).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["message_body"], text);
}

#[test]
fn a_text_with_a_nul_in_it_is_delivered_with_it() {
    let stack = shared_stack();
    let sender = Sender::new(stack);
    let text = "before\0after";
    let answer = sender.post_message(text);
    assert_eq!(answer.status, 202, "{answer:?}");
    let id = answer.json().unwrap()["message_id"].as_str().unwrap().to_owned();
    let line = stack.wait_for_delivery(&id, DEADLINE).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["message_body"], text);
}

#[test]
fn metadata_arrives_unchanged_on_one_line() {
    let stack = shared_stack();
    let sender = Sender::new(stack);
    // Line breaks between the members and in the strings, raw and escaped; separators that some readers take
    // for line breaks; a number that no float holds; an order that no map keeps.
    let metadata = "{\r\n  \"z\": \"a\\nb\\r\\nc\\u2028d\",\n\t\"a\": [ 1.000000000000000000001 , 1E+300,\n -0 ],\
                    \"é\u{2028}\u{85}\": { \"\\ud83d\\ude00\" : \"😀 \\\" \\\\ {\\\"\" }, \"\": null }";
    let compact = "{\"z\":\"a\\nb\\r\\nc\\u2028d\",\"a\":[1.000000000000000000001,1E+300,-0],\
                   \"é\u{2028}\u{85}\":{\"\\ud83d\\ude00\":\"😀 \\\" \\\\ {\\\"\"},\"\":null}";
    let message =
        format!("{{\"sender_number\":\"+1234567890\",\"message_body\":\"x\",\n\"metadata\":{metadata}}}");
    let answer = sender.post(&message);
    assert_eq!(answer.status, 202, "{answer:?}");
    let id = answer.json().unwrap()["message_id"].as_str().unwrap().to_owned();
    let line = stack.wait_for_delivery(&id, DEADLINE).unwrap();
    assert!(line.contains(&format!("\"metadata\":{compact}")), "{line}");
}
