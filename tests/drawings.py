"""Figures on a page in a browser, which are drawn when they come into view."""

from playwright.sync_api import expect


def open_folds(shown):
    shown.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")


def draw_all(shown):
    """Open every fold and scroll through; the page draws what comes into view."""
    open_folds(shown)
    for figure in shown.locator(".drawn").all():
        figure.scroll_into_view_if_needed()
    expect(shown.locator(".live")).to_have_count(shown.locator(".drawn").count())
