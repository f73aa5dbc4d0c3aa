"""What to do about each reason for which a row gives no pair, or a pair is not kept."""

FILL = "fill it in, name the column that has it in `columns`, or leave the row out"
HELD = "see reward.examine for what the columns hold, and map others by `columns`"

CURES = {
    # Nothing is there.
    "missing_prompt": FILL,
    "missing_chosen": FILL,
    "missing_rejected": FILL,
    "missing_response": FILL,
    "missing_rating": FILL,
    "missing_label": FILL,
    "missing_messages": FILL,
    "missing_parent": "add the message that it replies to, or leave its replies out",
    # Something else is there.
    "wrong_type": f"write a text or a list of messages there; {HELD}",
    "message_without_role": "give each message a role and a content",
    "message_without_text": "give each message a content that is text",
    "texts_without_roles": "give each text of a conversation its role",
    "messages_as_python_text": "write the messages as JSON: its marks are double",
    "nested_too_deeply": "write the messages flat, as a list of {role, content}",
    "image_in_message": "leave the row out: a reward model here reads text alone",
    "part_without_text": "leave the row out, or write the part as text",
    "message_id_used_before": "give each message an id of its own",
    "unknown_role": "name the roles prompter and assistant",
    "too_many_turns": "shorten the conversation or leave the row out",
    "not_a_transcript": "begin it with `Human:`, or name another `format`",
    "no_response": "end the conversation with the assistant's turn",
    "several_answers": "write one answer a row and side",
    "too_many_answers": "set `comparisons: best-worst`, or split the list",
    "branch_not_known": "mark the answer that the conversation goes on with as `chosen`",
    "turns_and_prompts_differ": "give each prompt of a conversation one answer",
    "prompts_differ": "give both sides the same conversation before the answer",
    "prompt_not_from_user": "end the prompt with the user's turn",
    "rating_not_a_number": "write a number, or nothing where there is none",
    "rating_too_large": "rescale the ratings",
    "share_not_between_0_and_1": "write a share as 0.7, and not as 70 per cent",
    "unknown_label": "name what it stands for in `labels` of the entry",
    "scores_and_responses_differ": "give each response one score",
    "single_response": "nothing to compare it with: add another response to the prompt",
    "broken_text": "write the texts as UTF-8 again, without halves of characters",
    "unreadable": "correct these rows or remove them",
    # A switch decides.
    "empty_prompt": "fill it in or leave the row out; `download.quality.empty_prompt` decides",
    "empty_response": "fill it in or leave the row out; `download.quality.empty_response` decides",
    "identical_responses": "`download.quality.identical_responses: count` keeps them",
    "tie": "`download.quality.tie: count` keeps those of pairs that say which side is chosen",
    "rating_contradicts_order": "`download.quality.rating_contradicts_order: count` keeps them; if "
    "all do, lower is better: say so by `better` in the entry",
    "earlier_turns_differ": "`download.quality.earlier_turns_differ` decides",
    "repeats_prompt": "`download.quality.repeats_prompt` decides",
    "control_characters": "`download.quality.control_characters` decides",
    "replacement_characters": "decode the source again; "
    "`download.quality.replacement_characters` decides",
    "control_tokens": "`download.quality.control_tokens` decides",
    "contradiction": "`download.quality.contradiction: count` keeps them",
    "duplicate": "`download.quality.duplicate: count` keeps them",
    "near_duplicate": "`split.near_duplicates` decides for those on two sides of the split",
    "beyond_weight": "raise the dataset's `weight`",
}


def cure_of(reason: str) -> str:
    """What to do about a reason; of an unknown one, of whatever column is missing, the usual."""
    if reason in CURES:
        return CURES[reason]
    return FILL if reason.startswith("missing_") else "correct these rows or leave them out"
