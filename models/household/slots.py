"""What stands in slots: things that run, and places and devices where they may. The values that are held out occur in no training example
(a word of one may: `football match` is held out, and `match` is not).

Half of the values of training are made up (`made_up`), so that what is learned is to copy what stands there and not a list.
"""

EN_WHAT = """film movie song music video game book audiobook podcast radio lesson call meeting recipe timer alarm slideshow album playlist news concert match
lecture course interview documentary cartoon series episode show story letter report drawing painting picture photo map route navigation translation
dictation recording rendering backup download upload update scan print job simulation training workout exercise quiz puzzle chess crossword homework essay
presentation spreadsheet table diary calendar budget invoice forecast timetable""".split()
EN_WHAT_MORE = [
    "bedtime story", "football match", "cooking video", "old film", "new song", "holiday photos", "garden plan", "night music", "white noise", "print job",
    "shopping list", "weather forecast", "piano practice", "yoga class", "train timetable", "video call", "phone call", "board game", "card game", "home video",
    "jazz playlist", "evening news", "morning show", "physics lecture", "french lesson", "wedding album", "travel plan", "tax report", "birthday song",
]
EN_WHERE = """car tv television phone tablet laptop computer watch speaker projector kitchen bedroom bathroom office study hall hallway garage garden attic
cellar basement balcony terrace library nursery workshop studio desk fridge oven mirror bus train van boat caravan tractor bicycle lamp printer camera
monitor screen console headset radio router server hub thermostat sofa table gym porch shed sauna pool""".split()
EN_WHERE_MORE = [
    "living room", "dining room", "guest room", "kids room", "kitchen tv", "bedroom tv", "office computer", "big screen", "small speaker", "kitchen speaker",
    "car radio", "old laptop", "new tablet", "work phone", "family computer", "hall mirror", "garden speaker", "front door", "music room", "game console",
]
ZH_WHAT = """电影 音乐 歌曲 视频 游戏 小说 有声书 播客 广播 课程 电话 会议 菜谱 计时 闹钟 相册 歌单 新闻 音乐会 比赛 讲座 采访 纪录片 动画片 电视剧 节目 故事 信件 报告 图画
照片 地图 路线 导航 翻译 听写 录音 录像 渲染 备份 下载 上传 更新 扫描 打印 模拟 训练 锻炼 测验 拼图 象棋 围棋 作业 作文 演示 表格 日记 日历 购物单 预算 账单 天气预报 时刻表
钢琴练习 瑜伽课 睡前故事 足球赛 做饭视频 老电影 新歌 假期照片 视频通话 语音通话 晚间新闻 早间节目 物理课 法语课 婚礼相册 旅行计划 生日歌 轻音乐 白噪音 连续剧 京剧 相声 评书 字帖
口算题 单词表 家谱 食谱 体检报告 快递单 直播 录播""".split()
ZH_WHERE = """车 汽车 电视 电视机 手机 平板 笔记本 电脑 手表 音箱 投影仪 厨房 卧室 浴室 办公室 书房 客厅 走廊 车库 花园 阁楼 地下室 阳台 露台 图书室 儿童房 工作间 书桌 冰箱 烤箱
镜子 公交车 火车 房车 船 自行车 台灯 打印机 相机 显示器 屏幕 游戏机 耳机 收音机 路由器 服务器 沙发 餐桌 餐厅 客房 健身房 大屏幕 小音箱 厨房音箱 客厅电视 卧室电视 旧笔记本 新平板 工作手机
家庭电脑 门厅 琴房 茶室 院子 爸爸的手机 妈妈的平板 爷爷的电视 奶奶的收音机""".split()

EN_SYLLABLES = [
    begin + middle + end
    for begin in "b c d f g h j k l m n p r s t v w z br cl dr fl gr pl pr st tr sh ch".split()
    for middle in "a e i o u ee oo ai ou".split()
    for end in ["", "n", "r", "l", "s", "m", "t", "ck", "nd", "st"]
]
# Characters that are common in names of things; which of them stand together is drawn.
ZH_CHARACTERS = (
    "天地人山水火木金土日月星云雨雪风花草树叶果米面茶酒饭菜鱼鸟马牛羊龙虎猫狗书画诗歌琴棋笔纸灯窗门床桌椅杯盘刀衣帽鞋包表钟镜车船机屏台柜箱球牌"
    "红黄蓝绿白黑青紫大小长短高低新旧老少东西南北前后左右春夏秋冬早晚古今中外明暗清静快慢轻重冷热香甜美丽安乐福寿喜平和光影声色海江河湖城村路桥"
    "家校园店馆厅室楼院房厨浴书客卧餐工学习课文数理化英语史政音体美劳科技网电气能源医药健康运动跑步跳舞唱演讲读写算记忆想梦"
)


def split(values, random):
    """Values for training, and a fifth of them that is held out."""
    values = sorted(set(values))
    random.shuffle(values)
    held = len(values) // 5
    return values[held:], values[:held]


def made_up(language, random):
    """A value that means nothing."""
    if language == "zh":
        # Now and then of characters that stand nowhere else: what is held out has such, too.
        rare = random.random() < 0.3
        one = (lambda: chr(random.randint(0x4E00, 0x9FA5))) if rare else (lambda: random.choice(ZH_CHARACTERS))
        return "".join(one() for _ in range(random.choice([1, 2, 2, 2, 3, 3, 4])))

    def word():
        return "".join(random.choice(EN_SYLLABLES) for _ in range(random.choice([1, 1, 2, 2, 3])))

    return " ".join(word() for _ in range(random.choice([1, 1, 1, 2])))
