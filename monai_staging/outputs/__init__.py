"""What leaves the program for people to look at: tables, figures and the files of an evaluation."""
