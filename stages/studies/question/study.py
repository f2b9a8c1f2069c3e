"""The user's own question: which source transfers best to my targets, and how sure is that."""

from stages.studies.study import Study

QUESTION = Study(
    name="question",
    title="Which source transfers best?",
    report="stages.studies.question.report",
)
