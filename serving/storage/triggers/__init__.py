"""Tables that follow from ``entries``, kept by triggers within the transaction of a row."""
