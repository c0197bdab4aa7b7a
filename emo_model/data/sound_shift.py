"""Sound that runs ahead of its picture or behind it by the same time throughout a video is put right, not thrown away.

SyncNet says of every clip how far apart sound and picture are. Where a video's confident clips agree, the fault lies in
the file: training then hears every frame with the sound that belongs to it (`sound_shift_frames`, in the manifest).
Where they do not, or where a clip's two halves do not, nothing is moved, and a policy may leave the clip out by
`av_offset_left_frames`, what is apart still. Stored files stay as cut: a manifest is the only thing that changes.
"""

CONFIDENT = 3.0  # LSE-C from which SyncNet's offset is taken for true
APART = 1.0  # frames at 25 fps (the step SyncNet measures in) by which offsets may differ and still agree

# One row a video whose confident clips agree. Positive offset: the sound leads, so a frame's own sound comes earlier.
AGREED_OFFSETS = f"""
    SELECT video_id, median(av_offset_frames) AS agreed_offset_frames
    FROM clip_rows WHERE sync_confidence >= {CONFIDENT}
    GROUP BY video_id
    HAVING max(av_offset_frames) - min(av_offset_frames) <= {APART} AND max(av_offset_spread_frames) <= {APART}"""
SHIFT_FRAMES = "CAST(round(coalesce(-agreed_offset_frames, 0) * 30 / 25) AS INTEGER)"
OFFSET_LEFT = "av_offset_frames - coalesce(agreed_offset_frames, 0)"
