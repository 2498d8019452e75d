"""The report of a replay: one HTML file that needs nothing else, and the same figures as JSON.

`write.write_report` makes it of a run's folder, `gaussian-yolo report` from the command line. A picture of it without a
pixel of the data, for a page about the project:

    gaussian-yolo report RUN --thumbnails 0 --output report.html
    chromium --headless=new --no-sandbox --hide-scrollbars --window-size=1100,1500 --screenshot=report.png report.html
"""
