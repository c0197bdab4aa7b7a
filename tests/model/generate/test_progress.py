"""How far a video is: what is said, how often, and what the estimate counts."""

from emo_model.generate.progress import Countdown, duration


def test_the_estimate_counts_what_is_made_now_and_is_said_every_ten_seconds():
    lines, now = [], [100.0]
    countdown = Countdown(lines.append, clock=lambda: now[0])
    countdown(600, 1800)  # kept of a run before
    for clip in range(1, 101):
        now[0] += 1.2
        countdown(600 + 12 * clip, 1800)
    assert lines[0] == "600/1800 frames"
    assert lines[1] == "708/1800 frames, 0.1 s a frame, 2 min left"
    assert lines[-1] == "1800/1800 frames, 0.1 s a frame" and len(lines) == 1 + 11 + 1


def test_time_as_people_say_it():
    assert [duration(s) for s in (7, 89, 100, 3600, 7200, 12000)] == [
        "7 s",
        "89 s",
        "2 min",
        "60 min",
        "2 h 0 min",
        "3 h 20 min",
    ]
