"""What of a data set's lists is to be had: ranges and hours listed, there, and gone. Views of the catalog:

    ranges          one annotated range: its hours, whether its video came, and why not
    availability    one subset of a collection (HDTF's RD, WDA, WRA)

`emo query "FROM availability"`; the dataset card shows it too.
"""

RANGES = """
    CREATE VIEW ranges AS
    WITH listed AS (
        SELECT source_id, source AS collection, identity_hint AS person, split_hint, unnest(ranges) AS r FROM sources),
        refused AS (SELECT id, any_value(reason) AS reason, any_value(detail) AS detail FROM rejected
            WHERE kind = 'source' GROUP BY id),
        cut AS (SELECT source_id, range_id, count(*) AS clips, sum(num_frames) / 30 / 3600 AS clip_hours
            FROM clip_rows JOIN (SELECT source_id, video_id FROM videos WHERE status = 'ok') USING (video_id)
            GROUP BY 1, 2)
    SELECT r.id AS range_id, collection AS source,
        coalesce(nullif(regexp_extract(r.id, '^(RD|WDA|WRA)_', 1), ''), collection) AS subset,
        listed.source_id, person, split_hint AS split, r.start_s AS start_s, r.end_s AS end_s,
        (r.end_s - r.start_s) / 3600 AS hours, coalesce(v.status, 'not fetched') AS status, v.reason AS reason,
        CASE WHEN v.reason IN ('unavailable', 'download_failed')
            THEN regexp_extract(detail, '^([^:]+): ', 1) END AS why,
        coalesce(clips, 0) AS clips, coalesce(clip_hours, 0) AS clip_hours
    FROM listed LEFT JOIN videos v USING (source_id) LEFT JOIN refused ON refused.id = listed.source_id
        LEFT JOIN cut ON cut.range_id = r.id AND cut.source_id = listed.source_id"""
RANGES_COMMENTS = {
    "range_id": "name of the range in its list",
    "source": "collection",
    "subset": "HDTF's RD, WDA or WRA; the collection elsewhere",
    "source_id": "source it is a part of",
    "person": "whom the list names; null: unknown",
    "split": "train or test, where the list fixes it",
    "start_s": "first second, on the video's clock",
    "end_s": "last second, on the video's clock",
    "hours": "length [hours]",
    "status": "of its video: ok, rejected or not fetched",
    "reason": "why its video was rejected",
    "why": "of a download: removed, private, blocked here, login wanted, ...",
    "clips": "clips cut from it",
    "clip_hours": "length of them [hours]",
}

AVAILABILITY = """
    CREATE VIEW availability AS
    SELECT source, subset, count(*) AS ranges, sum(hours) AS hours,
        count(*) FILTER (status = 'ok') AS there, coalesce(sum(hours) FILTER (status = 'ok'), 0) AS hours_there,
        count(*) FILTER (status = 'rejected') AS gone, count(*) FILTER (status = 'not fetched') AS not_fetched,
        count(DISTINCT person) FILTER (status = 'ok' AND split = 'train') AS train_people,
        coalesce(sum(hours) FILTER (status = 'ok' AND split = 'train'), 0) AS train_hours,
        count(DISTINCT person) FILTER (status = 'ok' AND split = 'test') AS test_people,
        coalesce(sum(hours) FILTER (status = 'ok' AND split = 'test'), 0) AS test_hours
    FROM ranges GROUP BY source, subset"""
AVAILABILITY_COMMENTS = {
    "source": "collection",
    "subset": "HDTF's RD, WDA or WRA; the collection elsewhere",
    "ranges": "annotated ranges",
    "hours": "length of them [hours]",
    "there": "ranges whose video is here and usable",
    "hours_there": "length of them [hours]",
    "gone": "ranges whose video was rejected: the site refused, the download failed, the file is damaged, a duplicate",
    "not_fetched": "ranges whose video raw_videos has not asked for yet",
    "train_people": "named people of what is there, in training; 0 where the list fixes no sides",
    "train_hours": "what is there, in training [hours]",
    "test_people": "named people of what is there, held out",
    "test_hours": "what is there, held out [hours]",
}

CARD = """
    SELECT source, subset, ranges, round(hours, 2), there, round(hours_there, 2), gone, not_fetched,
        train_people, round(train_hours, 2), test_people, round(test_hours, 2)
    FROM availability ORDER BY source, subset"""
CARD_HEADER = (
    "collection", "subset", "ranges", "hours", "there", "hours there", "gone", "not fetched", "people in train",
    "hours", "people in test", "hours",
)  # fmt: skip
GONE = """
    SELECT source, subset, reason, coalesce(why, ''), count(*), round(sum(hours), 2) FROM ranges
    WHERE status = 'rejected' GROUP BY ALL ORDER BY 1, 2, 5 DESC, 3, 4"""
GONE_HEADER = ("collection", "subset", "reason", "what the site says", "ranges", "hours")
