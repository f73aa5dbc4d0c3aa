"""What users run stands here (score, compare, examine, publish); what these and the stages know is
in the rooms below, one folder each.
"""
