"""What each canonical costs when nothing disturbs it: the calls of its worker on the world, and the events of its log.

A change of the engine that needs a call or an event more shows here first. A `receive` that waits in vain at the end is
not among the answered calls.
"""

CALLS = {
    "sequence": "acknowledge acquire append*6 change items receive",
    "gathered": "acknowledge acquire append*2 change items receive",
    "group_with_failing_sibling": "acknowledge acquire append*4 change items receive",
    "race_won": "acknowledge acquire append*2 change items receive",
    "race_lost": "acknowledge acquire append*3 change extend head*13 items receive renew",
    "retry_to_exhaustion": "acknowledge*3 acquire*3 append*6 change*3 items*3 read*2 receive*3 send*2",
    "timed_out": "acknowledge acquire append*3 change extend head*10 items receive renew",
    "parent": (
        "acknowledge*3 acquire*3 append*9 change*3 create drop_items head*3 items*4 put_item*2 put_labels*2 read*2 "
        "read_at receive*3 send*2"
    ),
    "cancelled_in_flight": "acknowledge*2 acquire*2 append*3 change*2 items*2 mark_dirty receive*2",
    "loop_with_labels": "acknowledge acquire append*5 change items put_labels*4 receive",
    "fan_out": (
        "acknowledge*14 acquire*7 append*3 change*5 claim_step*7 end_step*6 head*13 items*5 read*4 receive*4 "
        "retry_step send*8"
    ),
    "long_sleep": "acknowledge*2 acquire*2 append*4 change*2 items*2 read receive*2 send",
    "paid_once": "acknowledge acquire append*3 change items receive",
    "large_values": (
        "acknowledge*3 acquire*2 append*3 change*2 claim_step end_step get_blob head*2 items*2 put_blob*4 read "
        "receive*3 send*2"
    ),
    "continued": ("acknowledge*3 acquire*3 append*9 change*3 create*2 items*5 put_labels*6 read*2 receive*3 send*2"),
    "parent_of_continued": (
        "acknowledge*4 acquire*4 append*10 change*4 create*2 head*6 items*6 put_item*3 put_labels*5 read*3 read_at "
        "receive*4 send*3"
    ),
    "cancelled_after_continuing": (
        "acknowledge*3 acquire*3 append*5 change*3 create items*3 mark_dirty receive*3 send"
    ),
    "approved": "acknowledge*3 acquire*3 append*4 change*3 claim_token free_token items*3 mark_dirty read receive*2",
    "collected": "acknowledge*8 acquire*8 append*8 change*8 claim_token free_token items*8 read*7 receive*3 send",
    "hook_in_vain": (
        "acknowledge*8 acquire*8 append*5 change*3 claim_token free_token head items*3 mark_dirty read*2 receive*3 send"
    ),
    "hook_against_step": (
        "acknowledge*5 acquire*5 append*3 change*2 claim_token free_token head items*2 mark_dirty receive*2"
    ),
    "contested": (
        "acknowledge*5 acquire*5 append*9 change*4 claim_token*2 create drop_items free_token head*5 items*5 "
        "mark_dirty put_item*2 put_labels*2 read*4 read_at receive*4 send*2"
    ),
    "handed_on": (
        "acknowledge*15 acquire*15 append*8 change*6 claim_token*5 create*2 free_token head*14 items*8 "
        "mark_dirty*2 put_item*6 read*7 read_at*2 receive*6 send*8"
    ),
    "exchanged": (
        "acknowledge*5 acquire*5 append*10 change*5 claim_token*2 create end_step*2 free_token*2 head*7 items*6 "
        "put_item*4 put_labels*2 read*4 read_at receive*5 send*4 token*2"
    ),
    "requested": "acknowledge*3 acquire*3 append*3 change*2 claim_token free_token items*2 mark_dirty read receive*2",
    "fixed_answer": "acknowledge*5 acquire*5 append*3 change*2 claim_token free_token items*2 mark_dirty read receive*2",
    "answered": "acknowledge*2 acquire*2 append*4 change*2 claim_token free_token items*2 read receive*2",
    "reported": "acknowledge acquire append*3 change get*3 head*3 items length*6 put*12 put_item*3 receive",
    "forwarded": (
        "acknowledge*3 acquire*3 append*6 change*3 create get head*5 items*4 length*2 put*2 put_item*3 put_labels*2 "
        "read*2 read_at receive*3 send*2"
    ),
    "produced": (
        "acknowledge*3 acquire*2 append*3 change*2 claim_step end_step get*5 head*6 items*2 length*3 mark put*2 "
        "put_item*3 read receive*3 send*2"
    ),
    "transformed": (
        "acknowledge*5 acquire*3 append*4 change*3 claim_step*2 end_step*2 get*10 head*12 items*3 length*6 mark*2 "
        "put*4 put_item*6 read*2 receive*5 send*4"
    ),
}
"""The answered calls on the memory world, by method."""

CALLS_ON_LOCAL = {
    **CALLS,
    "fan_out": (
        "acknowledge*13 acquire*6 append*3 change*5 claim_step*7 end_step*6 head*13 items*3 mark_dirty*4 read "
        "receive*3 retry_step send*7"
    ),
    "approved": "acknowledge*3 acquire*3 append*4 change*2 claim_token free_token items*2 mark_dirty read receive*3",
    "collected": "acknowledge*8 acquire*8 append*10 change*8 claim_token free_token items*8 read*7 receive*8 send",
    "hook_in_vain": (
        "acknowledge*8 acquire*8 append*7 change*6 claim_token free_token head items*6 mark_dirty read*5 receive*8 send"
    ),
    "hook_against_step": (
        "acknowledge*5 acquire*5 append*3 change*3 claim_token free_token items*3 mark_dirty*2 receive*5"
    ),
    "contested": (
        "acknowledge*5 acquire*5 append*9 change*4 claim_token*3 create drop_items free_token head*7 items*5 "
        "mark_dirty put_item*2 put_labels*2 read*5 read_at receive*5 send*2"
    ),
    "handed_on": (
        "acknowledge*15 acquire*15 append*8 change*7 claim_token*5 create*2 free_token head*14 items*9 "
        "mark_dirty*5 put_item*4 read*7 read_at*2 receive*12 send*6"
    ),
    "requested": "acknowledge*3 acquire*3 append*3 change*2 claim_token free_token items*2 mark_dirty read receive*3",
    "fixed_answer": (
        "acknowledge*5 acquire*5 append*4 change*3 claim_token free_token items*3 mark_dirty read*2 receive*5"
    ),
    "transformed": (
        "acknowledge*5 acquire*3 append*4 change*3 claim_step*2 end_step*2 get*8 head*11 items*3 length*6 mark*2 "
        "put*4 put_item*6 read*2 receive*5 send*4"
    ),
}
"""Writes end a little later there, a group at a time: what comes meanwhile finds the run held, or its turn asleep."""

LOG = {
    "sequence": (
        "run_created run_started step_created step_started step_completed step_created step_started step_completed "
        "step_created step_started step_completed step_created step_started step_completed step_created step_started "
        "step_completed run_completed"
    ),
    "gathered": "run_created run_started step_created*5 step_started*5 step_completed*5 run_completed",
    "group_with_failing_sibling": (
        "run_created run_started step_created wait_created step_started step_completed step_created step_started "
        "step_failed wait_cancelled step_created step_started step_completed run_completed"
    ),
    "race_won": "run_created run_started step_created wait_created step_started step_completed run_completed",
    "race_lost": (
        "run_created run_started wait_created step_created step_started wait_completed step_cancelled step_created "
        "step_started step_failed step_completed run_completed"
    ),
    "retry_to_exhaustion": (
        "run_created run_started step_created step_started step_retrying step_started step_retrying step_started "
        "step_failed run_failed"
    ),
    "timed_out": "run_created run_started step_created step_started step_retrying step_started step_failed run_failed",
    "parent": (
        "run_created run_started operation_created operation_completed operation_created operation_completed "
        "step_created step_started step_completed step_created step_started step_completed run_completed"
    ),
    "cancelled_in_flight": (
        "run_created run_started step_created step_started step_completed step_created step_started cancel_requested "
        "run_cancelled"
    ),
    "loop_with_labels": (
        "run_created run_started step_created step_started step_completed attributes_set step_created step_started "
        "step_completed attributes_set step_created step_started step_completed attributes_set step_created "
        "step_started attributes_set step_completed attributes_set run_completed"
    ),
    "fan_out": "run_created run_started step_created*6 step_completed*6 run_completed",
    "long_sleep": (
        "run_created run_started step_created step_started step_completed wait_created wait_completed step_created "
        "step_started step_completed run_completed"
    ),
    "paid_once": (
        "run_created run_started step_created step_started step_completed step_created step_started step_completed "
        "run_completed"
    ),
    "large_values": (
        "run_created run_started step_created step_started step_completed step_created step_completed run_completed"
    ),
    "continued": "run_created run_started step_created step_started step_completed attributes_set run_continued",
    "parent_of_continued": (
        "run_created run_started operation_created operation_completed operation_created operation_completed "
        "run_completed"
    ),
    "cancelled_after_continuing": "run_created run_started step_created step_started step_completed run_continued",
    "approved": (
        "run_created run_started hook_created step_created step_started step_completed hook_received step_created "
        "step_started step_completed run_completed"
    ),
    "collected": (
        "run_created run_started hook_created step_created step_started step_completed wait_created "
        "hook_received*3 wait_completed step_created step_started step_completed step_created step_started "
        "step_completed step_created step_started step_completed hook_disposed step_created step_started "
        "step_completed run_completed"
    ),
    "hook_in_vain": (
        "run_created run_started hook_created wait_created wait_completed step_created step_started "
        "step_completed step_created step_started step_completed hook_received*3 run_completed"
    ),
    "hook_against_step": (
        "run_created run_started hook_created step_created step_started hook_received step_created step_cancelled "
        "hook_received step_started step_failed step_completed run_completed"
    ),
    "contested": (
        "run_created run_started hook_created operation_created operation_completed operation_created "
        "operation_completed step_created step_started step_completed hook_received run_completed"
    ),
    "handed_on": (
        "run_created run_started hook_created step_created step_started step_completed hook_received run_continued"
    ),
    "exchanged": (
        "run_created run_started hook_created operation_created operation_completed hook_received operation_created "
        "operation_completed operation_created operation_completed run_completed"
    ),
    "requested": (
        "run_created run_started hook_created step_created step_started step_completed hook_received run_completed"
    ),
    "fixed_answer": (
        "run_created run_started hook_created step_created step_started step_completed hook_received*2 run_completed"
    ),
    "answered": (
        "run_created run_started hook_created step_created step_started step_completed hook_received step_created "
        "step_started step_completed run_completed"
    ),
    "reported": (
        "run_created run_started step_created step_started step_completed step_created step_started step_completed "
        "run_completed"
    ),
    "forwarded": (
        "run_created run_started operation_created operation_completed operation_created operation_completed "
        "run_completed"
    ),
    "produced": (
        "run_created run_started step_created step_completed step_created step_started step_completed run_completed"
    ),
    "transformed": (
        "run_created run_started step_created step_completed step_created step_completed step_created step_started "
        "step_completed run_completed"
    ),
}
"""The types of the events, in order; the same on each world."""

LOGS_OF_THE_CHILD = {
    "parent": [
        (
            "run_created run_started step_created step_started step_completed step_created step_started step_completed "
            "run_completed"
        )
    ],
    "parent_of_continued": [
        "run_created run_started step_created step_started step_completed attributes_set run_continued",
        (
            "run_created run_started step_created step_started step_completed attributes_set step_created step_started "
            "step_completed run_completed"
        ),
    ],
    "contested": [
        "run_created run_started hook_created operation_created hook_conflict operation_completed run_completed",
    ],
    "exchanged": [
        (
            "run_created run_started hook_created operation_created operation_completed hook_received step_created "
            "step_started step_completed run_completed"
        )
    ],
    "forwarded": ["run_created run_started step_created step_started step_completed run_completed"],
}
"""Of the child, and of the runs that went on for it."""


def unfold(text: str) -> list[str]:
    """Word by word: `append*2` stands for two of them."""
    words = [word.partition("*") for word in text.split()]
    return [word for word, _, times in words for _ in range(int(times or 1))]


def calls_of(world_name: str, canonical_name: str) -> list[str]:
    table = {"memory": CALLS, "local": CALLS_ON_LOCAL}[world_name]
    return unfold(table[canonical_name])
