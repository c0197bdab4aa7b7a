"""The report a person opens: tables, plots, clips to watch, scores clip by clip. Opens from disk, asks no network.

Reading order: write (what is put together), tables, clips, plots, films (video that browsers play), page (templates).
"""

from emo_model.report.write import newest, read, write_report, write_single_file

__all__ = ["newest", "read", "write_report", "write_single_file"]
