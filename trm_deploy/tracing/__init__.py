"""What a model does at each supervision step, recorded and shown: as data, as a page, as pictures, in the terminal.

recording  the steps of a puzzle's attempts, with what a page needs to show them
files      which file is written how
page       one HTML file with the playground's drawing code
pictures   an animated GIF, a PNG strip
live       frames for the terminal
"""
