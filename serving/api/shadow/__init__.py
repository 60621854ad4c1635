"""Another bundle, the challenger, decides the same requests after they were answered.

Nothing of it reaches a caller: it runs in a process of its own, and its decisions are rows of the
kind ``shadow``, which are no decisions to anything else.

frames      messages between the service and that process
server      what any such process does
challenger  the one that decides with a bundle
process     that process as the service sees it: started, asked, limited, ended
shadow      the queue, the thread, the rows
"""
