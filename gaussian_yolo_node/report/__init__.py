"""The report of a replay: one self-contained HTML file, and the same figures as JSON.

`write.write_report` writes it from a run's folder; `gaussian-yolo report` does so from the command line. Modules here
compute and draw; `templates/` has the words and the layout: one template per section, one style sheet. For a picture
of the report without any pixel of the data, for a project page:

    gaussian-yolo report RUN --thumbnails 0 --output report.html
    chromium --headless=new --no-sandbox --hide-scrollbars --window-size=1100,1500 --screenshot=report.png report.html
"""
