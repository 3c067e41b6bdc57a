"""Models of one's own as commands see them: what SQL has of them and what lies in their folder, together.

Nothing is loaded here, and nothing is printed but questions.
"""
