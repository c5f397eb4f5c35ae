"""Chinese: how people say it. As in `english.py`; particles of place (里, 上, 那边) and demonstratives (这个, 我的) are part of the sentence and
not of a slot's value.
"""

BEFORE = ["", "", "", "", "请", "麻烦你", "帮我", "请帮我", "能不能", "可以", "现在", "快", "那就", "你好，", "喂，", "好，", "我想让你", "给我", "就"]
AFTER = ["", "", "", "", "吧", "一下", "，谢谢", "，好吗", "，行不行", "，可以吗", "，马上", "，拜托了", "！", "。"]

DETERMINERS = ["", "", "", "这个", "那个", "我的", "我们的", "刚才的", "刚才那个"]
# Of places: what stands behind where.
AT = ["", "里", "上", "那边", "那里", "这边"]

PHRASES = {
    "continue_on": [
        "把{the what}移到{where at}", "把{the what}转到{where at}", "把{the what}换到{where at}", "把{the what}送到{where at}", "把{the what}拿到{where at}",
        "把{the what}放到{where at}继续", "把{the what}移到{where at}继续", "把{the what}转到{where at}接着来", "把{the what}带到{where at}",
        "把{the what}带到{where at}接着来", "把{the what}交给{where}", "将{the what}移到{where at}", "将{the what}转到{where at}继续", "在{where at}继续{the what}",
        "在{where at}接着{the what}", "到{where at}继续{the what}", "去{where at}继续{the what}", "到{where at}接着来{the what}", "让{the what}在{where at}继续",
        "让{the what}到{where at}继续", "让{the what}去{where at}", "让{where}接着{the what}", "让{where}继续{the what}", "我要在{where at}继续{the what}",
        "我想在{where at}接着{the what}", "我想到{where at}继续{the what}", "我要去{where at}，把{the what}带上", "我要去{where at}，{the what}也带过去",
        "我去{where at}了，把{the what}移过去", "我在{where at}了，把{the what}移过来", "我到{where at}了，接着{the what}", "{the what}移到{where at}",
        "{the what}转到{where at}继续", "{the what}换到{where at}去", "{the what}到{where at}继续", "{the what}在{where at}接着来", "{the what}放到{where at}接着来",
        "{where at}接着{the what}", "{where at}继续{the what}",
    ],
    "play": [
        "在{where at}播放{the what}", "在{where at}放{the what}", "在{where at}打开{the what}", "在{where at}开始{the what}", "在{where at}启动{the what}",
        "到{where at}播放{the what}", "到{where at}打开{the what}", "用{where}播放{the what}", "用{where}打开{the what}", "用{where}放{the what}",
        "让{where}播放{the what}", "让{where}打开{the what}", "让{where}开始{the what}", "我想在{where at}看{the what}", "我想在{where at}听{the what}",
        "我要在{where at}看{the what}", "我要在{where at}听{the what}", "{where at}播放{the what}", "{where at}打开{the what}", "{where at}放{the what}",
        "打开{where at}的{what}", "播放{where at}的{what}", "我在{where at}了，开始{the what}",
    ],
    "pause": [
        "暂停{the what}", "先暂停{the what}", "把{the what}暂停", "把{the what}先停一会儿", "把{the what}停一会儿", "把{the what}停一停", "让{the what}停一会儿",
        "让{the what}等一会儿", "让{the what}等一等", "让{the what}先等着", "{the what}先等一等", "{the what}先停一会儿", "{the what}停一停", "{the what}等一会儿",
        "{the what}暂停", "{the what}先暂停", "我想让{the what}等一等", "将{the what}暂停", "将{the what}停一会儿", "先把{the what}停一停", "先让{the what}等着",
    ],
    "resume": [
        "继续{the what}", "恢复{the what}", "接着{the what}", "接着来{the what}", "把{the what}恢复", "把{the what}接着来", "让{the what}继续", "让{the what}接着来",
        "让{the what}恢复", "{the what}继续", "{the what}接着来", "{the what}可以继续了", "{the what}恢复", "我想继续{the what}", "我要接着{the what}", "回到{the what}",
        "我们继续{the what}", "我们接着{the what}", "将{the what}恢复", "{the what}不用等了", "别让{the what}等了",
    ],
    "stop": [
        "停止{the what}", "结束{the what}", "取消{the what}", "关掉{the what}", "关闭{the what}", "退出{the what}", "把{the what}关掉", "把{the what}停掉", "把{the what}取消",
        "把{the what}结束", "将{the what}关闭", "将{the what}取消", "不要{the what}了", "不用{the what}了", "我不要{the what}了", "我不想要{the what}了", "别再{the what}了",
        "{the what}不要了", "{the what}不用了", "{the what}可以结束了", "{the what}关掉", "{the what}取消", "{the what}够了", "让{the what}结束", "终止{the what}",
    ],
    "where_is": [
        "{the what}在哪", "{the what}在哪里", "{the what}在哪儿", "{the what}现在在哪", "{the what}在哪个设备上", "{the what}在什么设备上", "{the what}跑到哪里去了",
        "{the what}去哪了", "找找{the what}", "找一找{the what}在哪", "找{the what}", "哪个设备在跑{the what}", "哪个设备有{the what}", "谁在跑{the what}", "谁有{the what}",
        "告诉我{the what}在哪", "我找不到{the what}", "我不知道{the what}在哪", "看看{the what}在哪里", "查一查{the what}在哪",
    ],
    "list": [
        "在跑什么", "现在在跑什么", "有什么在跑", "什么在运行", "现在有什么在运行", "有哪些任务", "有什么任务", "现在有哪些任务", "列出任务", "列出所有任务",
        "把任务列出来", "把所有任务列出来", "看看任务", "看看有哪些任务", "看看什么在跑", "告诉我在跑什么", "告诉我有哪些任务", "查一查任务", "都在做什么",
        "你们在做什么", "任务都有哪些",
    ],
    "devices": [
        "有哪些设备", "有什么设备", "现在有哪些设备", "哪些设备在线", "谁在线", "谁在", "有谁在", "列出设备", "列出所有设备", "把设备列出来", "把所有设备列出来",
        "看看设备", "看看有哪些设备", "看看哪些设备在线", "告诉我有哪些设备", "告诉我谁在线", "查一查设备", "我有哪些设备", "我们有什么设备", "设备都有哪些", "能用什么设备",
    ],
    "best": [
        "给{the what}找个更好的设备", "给{the what}找个更快的设备", "给{the what}换个更快的设备", "给{the what}换个更好的设备", "把{the what}移到最好的设备上",
        "把{the what}移到最快的设备上", "把{the what}换到更快的设备上", "把{the what}放到最合适的设备上", "让{the what}在最快的设备上跑", "让{the what}在最好的设备上跑",
        "让{the what}去最合适的设备", "让{the what}跑快一点", "让{the what}快一点", "{the what}太慢了", "{the what}跑得太慢了", "{the what}换个更快的设备",
        "{the what}找个更好的设备", "哪个设备最适合{the what}", "有没有更好的设备跑{the what}", "{the what}要快一点", "加快{the what}",
    ],
}
