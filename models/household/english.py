"""English: how people say it. A phrase is a pattern with slots in braces; what stands in them comes from `slots.py`.

Articles and possessives before a slot are part of the sentence and not of the slot's value: `{the what}` becomes "the film", "my film"
or "film", and the value is "film".
"""

# Put before and after a phrase, or not.
BEFORE = [
    "", "", "", "", "please ", "could you ", "can you ", "would you ", "hey, ", "ok, ", "now ", "i want you to ", "will you ",
    "do me a favour and ", "softbus, ", "right, ", "listen, ", "just ", "let's see, ", "when you can, ",
]
AFTER = ["", "", "", "", " please", " now", " for me", ", thanks", " if you can", ", would you", " then", " right away", ", ok?"]

DETERMINERS = ["the ", "my ", "this ", "that ", "our ", ""]
# Of places: what stands between a verb and where.
ON = ["on ", "in ", "at ", "over on ", "over in "]
TO = ["to ", "over to ", "onto ", "into ", "across to "]

PHRASES = {
    "continue_on": [
        "continue {the what} {on} {the where}", "continue with {the what} {on} {the where}", "carry on with {the what} {on} {the where}",
        "go on with {the what} {on} {the where}", "keep {the what} going {on} {the where}", "keep going with {the what} {on} {the where}",
        "move {the what} {to} {the where}", "take {the what} {to} {the where}", "bring {the what} {to} {the where}",
        "send {the what} {to} {the where}", "put {the what} {to} {the where}", "switch {the what} {to} {the where}",
        "hand {the what} {to} {the where}", "transfer {the what} {to} {the where}", "shift {the what} {to} {the where}",
        "let {the what} go on {on} {the where}", "let {the what} continue {on} {the where}", "let me go on with {the what} {on} {the where}",
        "let me continue {the what} {on} {the where}", "let me carry on with {the what} {on} {the where}",
        "i want to go on with {the what} {on} {the where}", "i want to continue {the what} {on} {the where}",
        "i would like to carry on with {the what} {on} {the where}", "i want {the what} {on} {the where}",
        "i want {the what} to go on {on} {the where}", "{the what} should go on {on} {the where}", "{the what} should continue {on} {the where}",
        "go on {on} {the where} with {the what}", "carry on {on} {the where} with {the what}", "continue {on} {the where} with {the what}",
        "{on} {the where} go on with {the what}", "{on} {the where} continue {the what}", "i'm going {to} {the where}, bring {the what} along",
        "i'm going {to} {the where}, take {the what} with me", "i'm {on} {the where} now, carry on with {the what} there",
        "move {the what} from here {to} {the where}", "take {the what} from here {to} {the where}", "have {the what} go on {on} {the where}",
        "have {the what} moved {to} {the where}", "get {the what} {to} {the where}", "get {the what} going {on} {the where}",
    ],
    "play": [
        "play {the what} {on} {the where}", "start {the what} {on} {the where}", "put {the what} on {on} {the where}",
        "open {the what} {on} {the where}", "show me {the what} {on} {the where}", "show {the what} {on} {the where}",
        "run {the what} {on} {the where}", "begin {the what} {on} {the where}", "{on} {the where} play {the what}",
        "{on} {the where} start {the what}", "let me see {the what} {on} {the where}", "let me hear {the what} {on} {the where}",
        "i want to see {the what} {on} {the where}", "i want to hear {the what} {on} {the where}", "i would like to see {the what} {on} {the where}",
        "let {the what} begin {on} {the where}", "have {the what} start {on} {the where}", "turn on {the what} {on} {the where}",
        "i'm {on} {the where} now, start {the what} there", "i'm {on} {the where} now, play {the what} there",
        "get {the what} started {on} {the where}", "play me {the what} {on} {the where}",
    ],
    "pause": [
        "pause {the what}", "hold {the what}", "halt {the what}", "pause {the what} for a moment", "hold {the what} for a minute",
        "let {the what} wait", "let {the what} wait a moment", "make {the what} wait", "put {the what} on hold", "put {the what} on pause",
        "stop {the what} for a moment", "stop {the what} for a minute", "keep {the what} waiting", "have {the what} paused",
        "i want {the what} paused", "i want {the what} to wait", "{the what} should wait", "{the what} should wait a moment",
        "leave {the what} for a moment", "leave {the what} for a minute", "interrupt {the what} for a moment", "freeze {the what}",
    ],
    "resume": [
        "resume {the what}", "unpause {the what}", "pick {the what} up again", "pick up {the what} again", "start {the what} again",
        "let {the what} go on", "let {the what} go on again", "let {the what} run again", "go on with {the what}", "go on with {the what} again",
        "continue {the what}", "continue with {the what}", "carry on with {the what}", "carry on with {the what} again", "back to {the what}",
        "let's get back to {the what}", "i want {the what} to go on", "i want to go on with {the what}", "{the what} should go on",
        "{the what} can go on", "{the what} can go on now", "release {the what}",
    ],
    "stop": [
        "stop {the what}", "end {the what}", "cancel {the what}", "quit {the what}", "close {the what}", "kill {the what}", "finish {the what}",
        "stop {the what} for good", "end {the what} for good", "make an end of {the what}", "put an end to {the what}", "have {the what} stopped",
        "i want {the what} stopped", "i want {the what} to end", "i don't need {the what} any more", "i don't want {the what} any more",
        "no more {what}", "enough of {the what}", "that's enough of {the what}", "i'm done with {the what}", "we're done with {the what}",
        "get rid of {the what}", "throw {the what} away", "{the what} should end", "{the what} can end now", "turn {the what} off",
    ],
    "where_is": [
        "where is {the what}", "where's {the what}", "where is {the what} now", "where's {the what} running", "where does {the what} run",
        "which device runs {the what}", "which device has {the what}", "on which device is {the what}", "find {the what}", "find {the what} for me",
        "look for {the what}", "tell me where {the what} is", "tell me where {the what} runs", "show me where {the what} is",
        "do you know where {the what} is", "i can't find {the what}", "i don't know where {the what} is", "who runs {the what}", "who has {the what}",
        "what became of {the what}",
    ],
    "list": [
        "what is running", "what's running", "what is going on", "what is running now", "what runs here", "what runs at the moment",
        "show me what is running", "tell me what is running", "tell me what is going on", "list everything", "list all that runs",
        "list what is running", "which tasks are running", "which tasks are there", "show me all tasks", "show all tasks", "what have we got going",
        "give me a list of what runs", "give me a list of all tasks", "what are you doing", "what are they all doing",
    ],
    "devices": [
        "which devices are here", "which devices are there", "who is here", "who's here", "what devices are online", "which devices are online",
        "show me the devices", "show me all devices", "list the devices", "list all devices", "which devices do we have", "which devices have we got",
        "tell me which devices are here", "tell me which devices are online", "what devices do i have", "give me a list of the devices",
        "is anybody there", "who is online", "who's online now", "what can i use here",
    ],
    "best": [
        "find a better device for {the what}", "find a faster device for {the what}", "move {the what} to the best device",
        "move {the what} wherever it runs best", "run {the what} where it is fastest", "run {the what} wherever it is best", "let {the what} run where it is best",
        "take {the what} to the best device", "take {the what} to a faster device", "put {the what} where it runs best",
        "send {the what} to a better device", "send {the what} wherever it runs best", "make {the what} faster", "speed {the what} up",
        "{the what} is too slow", "{the what} is too slow here", "is there a better device for {the what}", "get {the what} onto the best device",
        "{the what} should run on the best device", "choose the best device for {the what}", "bring {the what} to a faster device",
    ],
}
